"""What was served, computed again: of each version a part of its predictions, by torch, from the same features.

A server that runs another artifact than its version's, or an engine that computes something else, is found so without
an outcome. Owns the alarms by which torch serves, and those of guard rails and detectors. Does not know what follows.
"""

from collections import Counter
from collections.abc import Sequence
from typing import Literal

import torch
from msgspec import Struct
from torch import Tensor

from compressors import scale
from compressors.answers import answers
from compressors.artifact.parity import parity_of
from deploy.lineages import Lineages
from deploy.pipeline import Pipeline
from deploy.registry.kinds import CHAMPIONS
from deploy.registry.records import Alarm, Champion, Engine
from deploy.registry.registry import Registry
from learners.commits.commit import Commit
from learners.evaluation.canary import ALL
from learners.evaluation.verdict import Guard
from learners.evaluation.watch.watch import Sighting
from learners.packing import pack_samples, unpack_samples
from streams.events import Sample

EACH, BLOCK = 8, 64  # of so many predictions one is computed again; these are compared, so many at once
EXACT = 1e-4  # mean difference of the same arithmetic in other batches: a thousand times less
MUCH = 10  # times the mean difference of an engine's proof


class RecomputedState(Struct):
    """Of which versions predictions wait, how many of what serves were seen, and which artifacts were found wrong."""

    newest: int
    base: int
    found: list[str]
    seen: dict[int, int]
    waiting: dict[int, bytes]


class Recomputed:
    """Takes the log in commits; of the predictions of what serves it waits for `BLOCK`, and compares them.

    That is the newest version of which there are any, and beside a canary its base.
    """

    def __init__(self, pipeline: Pipeline, registry: Registry) -> None:
        self._registry, self._encoder = registry, pipeline.encoder()
        self._lineages = Lineages(pipeline, registry, engines=False)
        self._newest, self._base, self._found = -1, -1, set[str]()
        self._seen, self._waiting = Counter[int](), dict[int, list[Sample]]()

    def state(self) -> RecomputedState:
        """Return what it holds."""
        waiting = {version: pack_samples(samples) for version, samples in self._waiting.items()}
        return RecomputedState(self._newest, self._base, sorted(self._found), dict(self._seen), waiting)

    def restore(self, state: RecomputedState) -> None:
        """Go on from what another one has held."""
        self._newest, self._base, self._found = state.newest, state.base, set(state.found)
        self._seen = Counter(state.seen)
        self._waiting = {version: unpack_samples(samples) for version, samples in state.waiting.items()}

    def take(self, entries: Sequence[Sample], commit: Commit) -> Alarm | None:
        """Take the next commit with its entries; return the alarm that follows, once an artifact."""
        for entry in entries:
            version = entry.prediction.version
            if version > self._newest:
                self._serve(version)
            if version in (self._newest, self._base):
                self._seen[version] += 1
                self._waiting.setdefault(version, []).extend([entry] * (self._seen[version] % EACH == 0))
        full = next((version for version, waiting in self._waiting.items() if len(waiting) >= BLOCK), None)
        if full is None:
            return None
        samples, champion = self._waiting.pop(full), self._registry.record(CHAMPIONS, full)
        if champion is None or champion.artifact in self._found:
            return None
        if champion.sync_of is not None and not self._registry.has(champion.artifact):
            return None  # it has gone, as those of earlier syncs do
        guard = self._compared(champion, samples)
        if guard.passed:
            return None
        self._found.add(champion.artifact)
        return _alarm(
            champion.number, champion.number, champion.offset, commit.settled_ms, commit.number, guard,
            samples=len(samples), artifact=champion.artifact,
        )  # fmt: skip

    def _serve(self, version: int) -> None:
        """Take note of a newer version, and of its base."""
        self._newest = self._base = version
        while self._base and (one := self._registry.record(CHAMPIONS, self._base)) and one.share < ALL:
            self._base -= 1
        both = self._newest, self._base
        self._seen = Counter({of: seen for of, seen in self._seen.items() if of in both})
        self._waiting = {of: waiting for of, waiting in self._waiting.items() if of in both}

    def _compared(self, champion: Champion, samples: Sequence[Sample]) -> Guard:
        """Return how far what was served is from what torch computes."""
        running = self._lineages.load(champion)
        encoder = running.encoder or self._encoder
        served = torch.tensor([one.prediction.output for one in samples], dtype=torch.float64)
        offset = torch.tensor(champion.offset, dtype=torch.float64)
        rows, zero = encoder.rows(samples), scale.zero(running.model)
        ours: Tensor = answers(running, rows).double() + offset
        found = parity_of(ours, served, zero)
        engine = champion.engine
        limit = max(EXACT, MUCH * engine.proof.mean if isinstance(engine, Engine) else 0.0)
        if not found.mean <= limit:  # a model that reads the filling of its batch answers otherwise in another one
            alone = torch.cat([answers(running, rows.between(i, i + 1)) for i in range(len(rows))]).double() + offset
            limit = max(limit, MUCH * parity_of(ours, alone, zero).mean)
        said = (
            f"what was served is not what torch computes: they are {found.mean:.2g} apart in the mean of "
            f"{len(samples)}, at most {limit:.2g}"
        )
        value = found.mean if found.mean == found.mean else None
        return Guard("mismatch", value, limit, found.mean <= limit, said)


def alarm_of(one: Sighting) -> Alarm:
    """Return the alarm of what was seen of a version that serves, by a detector or a guard rail."""
    if isinstance(one.seen, Guard):
        return _alarm(one.champion, one.reference, one.offset, one.at_ms, one.commit, one.seen, kind="guard")
    seen = one.seen
    return Alarm(
        number=-1, champion=one.champion, back_to=one.reference, old=one.old, detector=seen.detector,
        log_r=seen.log_r, log_needed=seen.log_needed, samples=seen.samples, gain=seen.gain,
        since_ms=seen.since_ms, offset=one.offset, at_ms=one.at_ms, commit=one.commit,
    )  # fmt: skip


def _alarm(
    champion: int,
    back_to: int,
    offset: tuple[float, ...],
    at_ms: int,
    commit: int,
    guard: Guard,
    *,
    kind: Literal["guard", "mismatch"] = "mismatch",
    samples: int = 0,
    artifact: str = "",
) -> Alarm:
    return Alarm(
        number=-1, champion=champion, back_to=back_to, old=False, detector=guard.name, log_r=0.0, log_needed=0.0,
        samples=samples, gain=0.0, since_ms=at_ms, offset=offset, at_ms=at_ms, commit=commit, kind=kind, guard=guard,
        artifact=artifact,
    )  # fmt: skip
