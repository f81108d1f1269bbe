"""What can be seen from outside: how far each role is, what the join has counted, who is champion.

Owns reading. Changes nothing. The replay paces by it, the console and `status` show it.
"""

import time
from collections.abc import Sequence
from typing import Any, TypeVar

import msgspec
from msgspec import Struct

from deploy.registry.kinds import (
    CANDIDATES,
    CHAMPIONS,
    CONDUCTOR,
    COUNTERS,
    DISTILLER,
    EVALUATOR,
    LEARNER,
    METRICS,
    SERVER,
    VERDICTS,
    Kind,
)
from deploy.registry.records import (
    Candidate,
    Champion,
    ConductorNote,
    DistillerNote,
    EvaluatorNote,
    LearnerNote,
    MetricName,
    Metrics,
    Row,
    ServerNote,
    TrialNote,
)
from deploy.registry.registry import Registry
from learners.evaluation.trial import Verdict
from streams.audit.equations import OFFSETS
from streams.join.step import ShardState
from streams.join.store import Store

T = TypeVar("T", bound=Struct)
LOOK_EVERY_S = 0.02
ROLES = (SERVER, LEARNER, DISTILLER, EVALUATOR, CONDUCTOR)  # whose notes say how far the loop is
NO_ROW = Row(0, {})


class Progress(Struct, frozen=True):
    """One look: the shards first, then the notes, so that a note is never behind what the shards show."""

    shards: list[ShardState]
    server: ServerNote | None
    learner: LearnerNote | None
    distiller: DistillerNote | None
    evaluator: EvaluatorNote | None
    conductor: ConductorNote | None

    def reached(self) -> object:
        """Return what is equal in two looks between which nothing was read, joined, learned or decided."""
        joined = [({tp: at.next for tp, at in shard.partitions.items()}, shard.counters) for shard in self.shards]
        return joined, msgspec.structs.replace(self, shards=[])

    def settled(self, outcomes: dict[str, int]) -> bool:
        """Tell whether nothing is outstanding for these outcomes (next offsets) and for all that was answered."""
        server, learner, distiller, evaluator, conductor = (
            self.server, self.learner, self.distiller, self.evaluator, self.conductor,
        )  # fmt: skip
        if not (server and learner and distiller and evaluator):
            return False
        joined = outcomes | server.predictions
        for shard in self.shards:
            if any(at.next < joined.get(tp, 0) for tp, at in shard.partitions.items()):
                return False
        if any(learner.positions[str(i)] != shard.last_id for i, shard in enumerate(self.shards)):
            return False
        if min(distiller.commit, evaluator.commit) < learner.commit or evaluator.candidate < distiller.candidate:
            return False
        version = conductor.version if conductor else 0
        decided = conductor.verdict if conductor else -1
        return decided >= evaluator.verdict and server.version >= version


class Monitor:
    """Looks at one feed's store and registry."""

    def __init__(self, feed: str, shards: int, store: Store, registry: Registry) -> None:
        self._feed, self._shards, self._store, self._registry = feed, shards, store, registry
        self._kept: dict[str, dict[int, Any]] = {}
        self._seen: list[bytes | None] = []
        self._looked = 0.0

    def progress(self) -> Progress:
        """Look at the shards and the notes."""
        shards = [self._store.shard(self._feed, shard) for shard in range(self._shards)]
        server, learner, distiller, evaluator, conductor = self._notes()
        return Progress(
            shards,
            SERVER.read(server),
            LEARNER.read(learner),
            DISTILLER.read(distiller),
            EVALUATOR.read(evaluator),
            CONDUCTOR.read(conductor),
        )

    def answered(self, requests: dict[str, int]) -> bool:
        """Tell whether every request below `requests` (next offset by topic:partition) has been answered."""
        server = SERVER.read(*self._store.get(self._feed, SERVER.name))
        return server is not None and all(server.requests.get(tp, 0) >= end for tp, end in requests.items())

    def settled(self, outcomes: dict[str, int]) -> bool:
        """Tell whether nothing is outstanding for these outcomes (next offsets) and for all that was answered.

        Looks at the shards only when a note has changed, or now and then: that look costs the store ten times as much.
        """
        notes, now = self._notes(), time.monotonic()
        if notes == self._seen and now - self._looked < LOOK_EVERY_S:
            return False
        self._seen, self._looked = notes, now
        return self.progress().settled(outcomes)

    def _notes(self) -> list[bytes | None]:
        return self._store.get(self._feed, *(note.name for note in ROLES))

    def metrics(self) -> Metrics | None:
        """Give the evaluator's last metrics."""
        return METRICS.read(*self._store.get(self._feed, METRICS.name))

    def candidates(self) -> list[Candidate]:
        """Give all candidates."""
        return self._all(CANDIDATES)

    def champions(self) -> list[Champion]:
        """Give all champions."""
        return self._all(CHAMPIONS)

    def verdict(self, candidate: int) -> Verdict | None:
        """Give a candidate's verdict, if there is one yet."""
        return self._record(VERDICTS, candidate)

    def _all(self, kind: Kind[T]) -> list[T]:
        records: list[T] = []
        while (record := self._record(kind, len(records))) is not None:
            records.append(record)
        return records

    def _record(self, kind: Kind[T], number: int) -> T | None:
        """Read a record once: it never changes."""
        kept: dict[int, T] = self._kept.setdefault(kind.name, {})
        if number not in kept and (record := self._registry.record(kind, number)) is not None:
            kept[number] = record
        return kept.get(number)


class View(Struct, frozen=True, kw_only=True):
    """One look at the whole, for people. Times are milliseconds of event time.

    `joined` events were read by the joiners, `served` requests were answered; `share` is the part of the feed that was
    replayed. `counters` are the join's, over all shards.
    """

    name: str
    seconds: float = 0.0
    at_ms: int
    share: float | None = None
    joined: int
    served: int
    events_per_second: float | None = None
    waiting: int
    unread: int
    lag_ms: int
    counters: dict[str, int] = {}
    learned: int
    metrics: Metrics | None
    trial: TrialNote | None
    champions: list[Champion]
    engines: tuple[str, ...] = ()
    candidates: list[Candidate]
    verdicts: dict[int, Verdict]
    closing: bool = False

    @property
    def events(self) -> int:
        """All that were read."""
        return self.joined + self.served

    @property
    def loss(self) -> MetricName:
        """The task's loss, as far as it is known."""
        return self.metrics.names[0] if self.metrics else MetricName("loss", "")


def counted(shards: Sequence[ShardState]) -> dict[str, int]:
    """Return the counters of the join over all shards, and how many positions became what; `kinds.py` explains them."""
    counters = {name: sum(shard.counters[name] for shard in shards) for name in COUNTERS}
    partitions = [at for shard in shards for at in shard.partitions.values()]
    return counters | {name: sum(getattr(at, name) for at in partitions) for name in OFFSETS}


def look(feed: str, monitor: Monitor) -> View:
    """Take one look at a feed, for people."""
    now, candidates = monitor.progress(), monitor.candidates()
    verdicts = {c.number: monitor.verdict(c.number) for c in candidates}
    counters = counted(now.shards)
    at_ms = max(at.t_ms for s in now.shards for at in s.partitions.values())
    watermark_ms = min(s.watermark_ms for s in now.shards)
    return View(
        name=feed,
        at_ms=at_ms,
        joined=counters["records"],
        served=now.server.served if now.server else 0,
        waiting=counters["waiting"],
        unread=sum(s.unread for s in now.shards),
        lag_ms=at_ms - watermark_ms if watermark_ms > 0 else 0,
        counters=counters,
        learned=now.learner.learned if now.learner else 0,
        metrics=monitor.metrics(),
        trial=now.evaluator.trial if now.evaluator else None,
        champions=monitor.champions(),
        engines=now.server.engines if now.server else (),
        candidates=candidates,
        verdicts={number: verdict for number, verdict in verdicts.items() if verdict is not None},
        closing=any(s.ending for s in now.shards),
    )
