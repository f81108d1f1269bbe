"""Syncs: the shadow's average, offered to the servers between two promotions, untested.

Owns when one is made, what it must not do, and of which version it takes the place. Does not know who decides whether
it serves, or how it is taken back.
"""

import logging
import time
from collections.abc import Callable, Sequence

from torch import Tensor

from compressors.answers import answers
from compressors.artifact import format as artifact
from compressors.data import Scaled
from compressors.errors import ArtifactError
from deploy.engine import prove
from deploy.learning.candidates import average, kind_beside
from deploy.lineages import Lineages
from deploy.pipeline import Pipeline
from deploy.registry.commits import backwards, newest
from deploy.registry.kinds import CHAMPIONS
from deploy.registry.notes import SyncNote
from deploy.registry.records import Champion
from deploy.registry.registry import Registry
from deploy.registry.reigns import SYNCS
from learners.evaluation.guards.outputs import constant, finite
from learners.evaluation.verdict import Guard, Kind, vetoed
from learners.labels.holds import left
from learners.online.batches import Newest, bare, completed, labels
from learners.online.intercept import Intercept
from learners.online.learner import Learner
from streams.errors import RegistryError
from streams.events import WAITING, Sample

WARM_UP = 2_000  # of the newest samples, from which a sync's intercept starts; it remembers about the last 600
ROWS, LEAST = 256, 64  # of these, on which guard rails look; fewer say too little


class Syncs:
    """Makes the syncs of a learner's commits, one every `Promotion.sync_s` of event time.

    Where events end, so does their time: then one is made after as long of the `clock`, which tells seconds.
    """

    def __init__(
        self, pipeline: Pipeline, registry: Registry, learner: Learner, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._pipeline, self._registry, self._learner = pipeline, registry, learner
        self._every_ms, self._encoder = pipeline.promotion.sync_ms or 1.0, pipeline.encoder()
        self._lineages = Lineages(pipeline, registry)
        self._newest: Newest[Sample] = Newest(WARM_UP)
        self._known, self._of, self._kind = -1, -1, Kind.OTHER  # the newest version; the newest tested one, its kind
        self._made, self._said = list[str](), ""
        self._clock, self._tried, self._rests = clock, -1, (-1, 0.0)  # the newest commit, and since when it rests

    def begin(self, last: int) -> None:
        """Begin at a commit: the newest samples are those up to it."""
        self._newest = Newest(WARM_UP)
        for commit in newest(backwards(self._registry, last), WARM_UP):
            self.take(left(commit.entries(), commit.held))

    def take(self, entries: Sequence[Sample]) -> None:
        """Take what the learner has learned: samples, and marks of what waits."""
        if samples := completed([one for one in entries if one.kind != WAITING], self._learner.task):
            self._newest.add(samples)

    def due(self, before_ms: int, now_ms: int) -> bool:
        """Return whether the watermark has passed a multiple of the time between two syncs."""
        return now_ms // self._every_ms != before_ms // self._every_ms

    def rested(self, commit: int) -> bool:
        """Return whether nothing has come since a commit of which no sync was made, for as long as between two."""
        if self._rests[0] != commit:
            self._rests = commit, self._clock()
        return commit > self._tried and self._clock() - self._rests[1] >= self._every_ms / 1_000

    def make(self, commit: int) -> SyncNote | None:
        """Make the sync of the learner's state, which is that after a commit.

        None where none may serve, too few samples are known, or a guard rail is broken, which is said: what serves then
        serves on.
        """
        self._tried = commit
        of, samples = self._tested(), list(self._newest)[-WARM_UP:]
        if of is None or len(samples) < LEAST:
            return None
        try:
            packed = average(self._pipeline, self._learner)
        except ValueError as wrong:
            self._refuse(str(wrong))
            return None
        rows = self._encoder.rows(samples)
        outputs = answers(artifact.load(packed, self._pipeline.model), rows)
        guards = self._guards(samples[-ROWS:], outputs[-ROWS:])
        if why := vetoed(guards):
            self._refuse(why)
            return None
        self._said = ""
        self._keep(packed_as := self._registry.put(packed))
        return SyncNote(
            commit=commit, of=of.number, artifact=packed_as, offset=self._offset(samples, outputs),
            engine=prove(self._registry, packed, self._pipeline.model, of.engine, rows), guards=guards,
        )  # fmt: skip

    def _tested(self) -> Champion | None:
        """Return the version whose place a sync takes; None where what is learned is no refresh of it."""
        try:
            return self._refreshed()
        except (RegistryError, ArtifactError) as wrong:  # servers say so, too, and serve what they have
            self._refuse(str(wrong))
            return None

    def _refreshed(self) -> Champion | None:
        self._known = self._registry.last(CHAMPIONS, self._known)
        newest = self._registry.record(CHAMPIONS, self._known)
        of = self._registry.record(CHAMPIONS, newest.sync_of) if newest and newest.sync_of is not None else newest
        if of is None or of.back_to is not None:
            return None
        if of.number != self._of:
            self._kind = kind_beside(of, self._pipeline, self._lineages, self._registry)
            self._of = of.number
        return of if self._kind is Kind.REFRESH else None

    def _keep(self, made: str) -> None:
        """Delete the artifact of an earlier sync: a rebuild makes it again."""
        self._made = [*(one for one in self._made if one != made), made]
        if len(self._made) > SYNCS:
            self._registry.drop(self._made.pop(0))

    def _guards(self, samples: list[Sample], outputs: Tensor) -> tuple[Guard, ...]:
        """Return what the guard rails find of outputs (N, K), beside what was served."""
        task, exact = self._learner.task, isinstance(self._learner.task, Scaled)
        if not (found := finite(outputs)).passed:
            return (found,)
        theirs, target = bare(samples, exact=exact), labels(samples, exact=exact)
        return found, constant(task, outputs, theirs, target, self._pipeline.promotion.rails.constant)

    def _offset(self, samples: list[Sample], outputs: Tensor) -> tuple[float, ...]:
        """Return the intercept to which the newest samples bring outputs (N, K), less the one that serves."""
        own = Intercept(self._learner.task, self._pipeline.online.intercept_rate)
        own.follow(outputs.tolist(), [sample.label for sample in samples], [1.0] * len(samples))
        return tuple(a - b for a, b in zip(own.value, self._learner.intercept.value, strict=True))

    def _refuse(self, why: str) -> None:
        if why != self._said:
            text = "learner: its average is not served: %s; what serves does so on"
            logging.getLogger("shadowstream").warning(text, why)
        self._said = why
