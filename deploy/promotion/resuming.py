"""The evaluator's summaries: from what it held after a commit another one goes on, bit for bit as from the first one.

Owns what is in a summary, and which one is gone on from: the newest that is whole, of these commits, and of this
pipeline. Does not know what the evaluator does.
"""

import hashlib
import logging
import re
from typing import NamedTuple

import msgspec
from msgspec import Struct

from deploy.engine import Running
from deploy.lineages import Lineages
from deploy.pipeline import Pipeline
from deploy.promotion.recomputed import RecomputedState
from deploy.registry.kinds import CANDIDATES, CHAMPIONS, COMMITS, EVALUATOR, PIPELINES
from deploy.registry.records import Candidate, Champion
from deploy.registry.registry import Registry
from learners.commits.commit import Commit
from learners.evaluation.evaluate import EvaluatorState
from learners.evaluation.trials.timing import Timing
from learners.packing import pack, unpack
from streams.errors import RegistryError, ShadowstreamError

FORMAT = 3  # goes up with any change of a state's fields or of what is made of commits
READ = (FORMAT, 2)  # those of 2 have no closed months yet
BEGINS = "the first commit that is left: older samples were let go"
ADDRESS = re.compile(r" at 0x[0-9a-f]+")
log = logging.getLogger("shadowstream")


class Awaited(NamedTuple):
    """A commit of which a candidate is made, which goes on trial before the watermark passes `until_ms`."""

    commit: int
    until_ms: int


class Held(Struct, kw_only=True):
    """What the role holds beside its evaluator; `made` are numbers of candidates that are not on trial yet."""

    version: int
    alarms: int
    candidate: int
    verdicts: int
    read: int
    doubt: str
    awaits: list[Awaited]
    made: list[int]
    recomputed: RecomputedState


class Summary(Struct, kw_only=True):
    """What an evaluator held after a commit, whose `key` says under which settings."""

    key: str
    held: Held
    evaluator: EvaluatorState


class Summaries:
    """A feed's, under one pipeline; `first` is the digest of version 0's artifact."""

    def __init__(self, pipeline: Pipeline, timing: Timing, registry: Registry, first: str, *, engines: bool) -> None:
        self._registry, self._folds = registry, registry.folds(EVALUATOR.name)
        described = registry.read(PIPELINES, registry.last(PIPELINES)) or b""
        said = timing, pipeline.promotion, pipeline.task, pipeline.online, pipeline.slices, first, engines
        told = (ADDRESS.sub("", repr((form, *said))).encode() + described for form in READ)
        self._keys = [hashlib.sha256(one).hexdigest() for one in told]

    def newest(self) -> tuple[Summary, Commit] | None:
        """Return the newest summary that can be gone on from, with its commit; None if there is none."""
        for number, name in self._folds.names():
            try:
                data = self._folds.read(name, self._registry.read(COMMITS, number))
                summary, commit = unpack(data, Summary), self._registry.record(COMMITS, number)
            except (ShadowstreamError, msgspec.ValidationError, msgspec.DecodeError) as wrong:
                log.warning("evaluator: %s; it goes on from a summary before it, or begins where the log does", wrong)
                continue
            if summary.key in self._keys and commit is not None:
                return summary, commit
            log.warning("evaluator: %s is of another pipeline or join; commits are taken from the first one on", name)
        if self._registry.begins():
            log.warning("evaluator: metrics, and tests that went on, begin anew at %s", BEGINS)
        return None

    def keep(self, commit: int, held: Held, state: EvaluatorState) -> None:
        """Write what was held after a commit; where that cannot be done it is said, and nothing is lost but time."""
        try:
            data = pack(Summary(key=self._keys[0], held=held, evaluator=state))
            bytes_of = self._registry.read(COMMITS, commit)
            if bytes_of is not None:
                self._folds.keep(commit, bytes_of, data)
        except RegistryError as wrong:
            log.warning("evaluator: no summary after commit %d: %s", commit, wrong)


def model_of(registry: Registry, lineages: Lineages, artifact: str) -> Running:
    """Return what runs an artifact, as the candidate or the version that it is.

    Raises:
        RegistryError: it is neither.
    """
    mades: list[Candidate | Champion] = [*registry.records(CANDIDATES), *registry.records(CHAMPIONS)]
    for made in mades:
        if made.artifact == artifact:
            return lineages.load(made)
    raise RegistryError(f"no candidate or version has the artifact {artifact}")
