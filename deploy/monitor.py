"""What can be seen from outside: how far each role is, what the join has counted, which version serves.

Owns reading the store and the registry for it, and changes neither. The replay takes its pace from it; the console and
`status` show it. Does not know tables.
"""

import time
from collections.abc import Sequence
from typing import Any, TypeVar

import msgspec
from msgspec import Struct

from deploy.doubts import Judge, Judged, newest_ms
from deploy.registry.commits import let_go
from deploy.registry.freshness import FreshNote
from deploy.registry.kinds import (
    ALARMS,
    CANDIDATES,
    CHAMPIONS,
    CONDUCTOR,
    COUNTERS,
    DISTILLER,
    DRIFT,
    EVALUATOR,
    FRESHNESS,
    LEARNER,
    METRICS,
    PULSE,
    SERVER,
    VERDICTS,
    Kind,
    server_names,
)
from deploy.registry.notes import (
    BesideNote,
    CanaryNote,
    ConductorNote,
    DistillerNote,
    Distrusted,
    EvaluatorNote,
    LearnerNote,
    MetricName,
    Metrics,
    Row,
    ServerNote,
    TrialNote,
)
from deploy.registry.pulse import PulseNote
from deploy.registry.records import Alarm, Candidate, Champion
from deploy.registry.registry import Registry
from deploy.registry.reigns import versions
from learners.evaluation.drift import Change
from learners.evaluation.verdict import Verdict
from streams.audit.equations import OFFSETS
from streams.join.dates import Doubt
from streams.join.step import ShardState
from streams.join.store import NOTHING, Store

T = TypeVar("T", bound=Struct)
LOOK_EVERY_S, LOOKING = 0.02, 0.1  # between looks at the shards: at most so long, and so that they take this share
LET_GO_EVERY_S = 60.0
ROLES = (LEARNER, DISTILLER, EVALUATOR, CONDUCTOR)  # whose notes, and the servers', say how far the loop is
NO_ROW = Row(0, {})


class Progress(Struct, frozen=True):
    """How far the shards and the roles are. The notes were read after the shards, so they are at least as new."""

    shards: list[ShardState]
    server: ServerNote | None  # all of them together
    learner: LearnerNote | None
    distiller: DistillerNote | None
    evaluator: EvaluatorNote | None
    conductor: ConductorNote | None
    servers: dict[str, ServerNote] = {}

    def reached(self) -> object:
        """Return what is equal in two looks between which nothing was read, joined, learned or decided."""
        joined = [({tp: at.next for tp, at in shard.partitions.items()}, shard.counters) for shard in self.shards]
        return joined, msgspec.structs.replace(self, shards=[])

    def settled(self, outcomes: dict[str, int]) -> bool:
        """Return whether all that was answered, and the outcomes before these offsets, went through the whole loop.

        A candidate may still be made: the evaluator waits for it in its time.
        """
        server, learner, evaluator, conductor = self.server, self.learner, self.evaluator, self.conductor
        if not (server and learner and evaluator):
            return False
        joined = outcomes | server.predictions
        for shard in self.shards:
            if any(at.next < joined.get(tp, 0) for tp, at in shard.partitions.items()):
                return False
        if any(learner.positions.get(str(i), NOTHING) != shard.last_id for i, shard in enumerate(self.shards)):
            return False
        if learner.drafted:
            return False
        if evaluator.commit < learner.commit:
            return False
        version = conductor.version if conductor else 0
        handled = conductor.verdicts if conductor else 0
        heeded = conductor.alarms if conductor else 0
        synced = conductor.synced if conductor else -1
        decided = handled >= evaluator.verdicts and heeded >= evaluator.alarms and synced >= learner.synced
        return decided and server.version >= version


class Monitor:
    """Looks at one feed's store and registry."""

    def __init__(self, judge: Judge, store: Store, registry: Registry, servers: int = 1) -> None:
        self._servers = server_names(servers)
        self._names = [*(note.name for note in ROLES), *self._servers]
        self._feed, self._shards, self._judge = judge.feed, judge.policy.shards, judge
        self._store, self._registry = store, registry
        self._read: dict[str, dict[int, Any]] = {}
        self._champions = list[Champion]()
        self._last_notes: list[bytes | None] = []
        self._look_again_s = 0.0
        self._let_go, self._let_go_at_s = "", 0.0
        self.last: Progress | None = None  # what `progress` has returned last

    def progress(self) -> Progress:
        """Look at the shards and the notes."""
        shards = [self._store.shard(self._feed, shard) for shard in range(self._shards)]
        learner, distiller, evaluator, conductor, *servers = self._notes()
        read = {name: note for name, data in zip(self._servers, servers, strict=True) if (note := SERVER.read(data))}
        self.last = Progress(
            shards,
            ServerNote.of(read.values()),
            LEARNER.read(learner),
            DISTILLER.read(distiller),
            EVALUATOR.read(evaluator),
            CONDUCTOR.read(conductor),
            read,
        )
        return self.last

    def judged(self, shards: Sequence[ShardState]) -> Judged:
        """Return what the user must be told of these shards."""
        return self._judge(self._store, shards)

    def answered(self, requests: dict[str, int]) -> bool:
        """Return whether every request before these offsets, by `topic:partition`, has been answered."""
        notes = map(SERVER.read, self._store.get(self._feed, *self._servers))
        server = ServerNote.of(filter(None, notes))
        return server is not None and all(server.requests.get(tp, 0) >= end for tp, end in requests.items())

    def settled(self, outcomes: dict[str, int]) -> bool:
        """Return `Progress.settled`.

        Reads the shards only when a note has changed, or after a rest: they cost the store ten times as much as the
        notes, and an outcome without a sample changes no note. Returns False in between.
        """
        notes, now = self._notes(), time.monotonic()
        if notes == self._last_notes and now < self._look_again_s:
            return False
        progress, end = self.progress(), time.monotonic()
        self._last_notes, self._look_again_s = notes, end + min(LOOK_EVERY_S, (end - now) / LOOKING)
        return progress.settled(outcomes)

    def rest(self, most_ms: float) -> None:
        """Sleep until a role says something new, at most so long."""
        self._store.doze(self._feed, self._names, most_ms)

    def _notes(self) -> list[bytes | None]:
        return self._store.get(self._feed, *self._names)

    def metrics(self) -> Metrics | None:
        """Return the evaluator's last metrics."""
        return METRICS.read(*self._store.get(self._feed, METRICS.name))

    def drift(self) -> list[Change]:
        """Return which fields have changed, the newest change first."""
        note = DRIFT.read(*self._store.get(self._feed, DRIFT.name))
        return note.changes if note else []

    def freshness(self) -> FreshNote | None:
        """Return how long after their arrival outcomes were known to a first prediction."""
        return FRESHNESS.read(*self._store.get(self._feed, FRESHNESS.name))

    def pulse(self) -> tuple[PulseNote | None, float]:
        """Return the newest pulse of the feed's run, and how many seconds old it is."""
        note = PULSE.read(*self._store.get(self._feed, PULSE.name))
        return note, max(0.0, (self._store.now_ms() - note.at_ms) / 1_000) if note else 0.0

    def let_go(self) -> str:
        """Return where the log begins, in words, "" where no samples were let go; looked up once a minute."""
        if time.monotonic() >= self._let_go_at_s:
            self._let_go_at_s, self._let_go = time.monotonic() + LET_GO_EVERY_S, let_go(self._registry)
        return self._let_go

    def candidates(self) -> list[Candidate]:
        """Return all candidates."""
        return self._all(CANDIDATES)

    def champions(self) -> list[Champion]:
        """Return all versions that have served; of syncs in a row, the newest."""
        newest = self._registry.last(CHAMPIONS, self._champions[-1].number if self._champions else -1)
        if not self._champions or newest > self._champions[-1].number:
            self._champions = versions(self._registry, newest)
        return self._champions

    def alarms(self) -> list[Alarm]:
        """Return all that was seen of versions that serve."""
        return self._all(ALARMS)

    def verdict(self, candidate: int) -> Verdict | None:
        """Return a candidate's verdict, or None if there is none yet."""
        return self._record(VERDICTS, candidate)

    def _all(self, kind: Kind[T]) -> list[T]:
        records: list[T] = []
        while (record := self._record(kind, len(records))) is not None:
            records.append(record)
        return records

    def _record(self, kind: Kind[T], number: int) -> T | None:
        """Read a record, but only once: it never changes."""
        records: dict[int, T] = self._read.setdefault(kind.name, {})
        if number not in records and (record := self._registry.record(kind, number)) is not None:
            records[number] = record
        return records.get(number)


class View(Struct, frozen=True, kw_only=True):
    """One look at the whole, for people. Times are milliseconds of event time.

    The joiners have read `records`; `served` requests were answered and `refused` were not, since the server began;
    `waiting` predictions have no outcome yet, and `unread` samples are not learned yet. `lag_ms` is how far the join's
    watermark lags the newest event. `share` is the part of the feed that was replayed. `counters` are the join's, over
    all shards; `warnings` and `advice` say what is wrong with its events, and what to change; `held` has a line for
    each partition that an open transaction holds. The outcomes of `distrusted` sources are held. `trouble` has a line
    for each service or role that is waited for, and `waits` says why versions wait for a person, and `canary` how far
    the step of one is. `alarms` is what was seen of versions that served. `servers` has each server's note by its name.
    `freshness` is how long after their arrival outcomes were known to a first prediction. `let_go` says where the log
    begins, if old samples were let go. `pulse` is the run's own look at its roles and at what is unread, `pulse_s`
    seconds old.
    """

    name: str
    seconds: float = 0.0
    at_ms: int
    share: float | None = None
    records: int
    served: int
    refused: int = 0
    events_per_second: float | None = None
    waiting: int
    unread: int
    lag_ms: int
    counters: dict[str, int] = {}
    warnings: list[Doubt] = []
    advice: list[str] = []
    held: list[str] = []
    learned: int
    metrics: Metrics | None
    drift: list[Change] = []
    trials: tuple[TrialNote, ...]
    champions: list[Champion]
    engines: tuple[str, ...] = ()
    servers: dict[str, ServerNote] = {}
    live: str = ""
    distrusted: tuple[Distrusted, ...] = ()
    candidates: list[Candidate]
    verdicts: dict[int, Verdict]
    closing: bool = False
    trouble: tuple[str, ...] = ()
    alarms: list[Alarm] = []
    waits: str = ""
    beside: BesideNote | None = None
    canary: CanaryNote | None = None
    freshness: FreshNote | None = None
    let_go: str = ""
    pulse: PulseNote | None = None
    pulse_s: float = 0.0

    @property
    def events(self) -> int:
        """How many were read, by joiners and server."""
        return self.records + self.served

    @property
    def loss(self) -> MetricName:
        """The name of the task's loss, "loss" until something was measured."""
        return self.metrics.names[0] if self.metrics else MetricName("loss", "")


def counted(shards: Sequence[ShardState]) -> dict[str, int]:
    """Return the join's counters over all shards, and what the offsets held; `registry/kinds.py` explains them."""
    counters = {name: sum(shard.counters[name] for shard in shards) for name in COUNTERS}
    partitions = [partition for shard in shards for partition in shard.partitions.values()]
    return counters | {name: sum(getattr(one, name) for one in partitions) for name in (*OFFSETS, "ahead")}


def nothing(feed: str) -> View:
    """Return the look at a feed of which nothing was seen yet."""
    return View(
        name=feed, at_ms=0, records=0, served=0, waiting=0, unread=0, lag_ms=0, learned=0, metrics=None, trials=(),
        champions=[], candidates=[], verdicts={},
    )  # fmt: skip


def _doubts(note: EvaluatorNote | None) -> list[Doubt]:
    return [Doubt("promotions", note.doubt)] if note and note.doubt else []


def look(feed: str, monitor: Monitor) -> View:
    """Return one look at a feed."""
    now, candidates = monitor.progress(), monitor.candidates()
    verdicts = {c.number: monitor.verdict(c.number) for c in candidates}
    counters, judged = counted(now.shards), monitor.judged(now.shards)
    at_ms = newest_ms(now.shards)
    watermark_ms = min(s.watermark_ms for s in now.shards)
    return View(
        name=feed,
        at_ms=at_ms,
        records=counters["records"],
        served=now.server.served if now.server else 0,
        refused=now.server.refused if now.server else 0,
        waiting=counters["waiting"],
        unread=sum(s.unread for s in now.shards),
        lag_ms=max(0, at_ms - watermark_ms) if watermark_ms > 0 else 0,
        counters=counters,
        warnings=[*judged.warnings, *_doubts(now.evaluator)],
        advice=judged.advice,
        learned=now.learner.learned if now.learner else 0,
        metrics=monitor.metrics(),
        drift=monitor.drift(),
        trials=now.evaluator.trials if now.evaluator else (),
        champions=monitor.champions(),
        alarms=monitor.alarms(),
        waits=now.conductor.waits if now.conductor else "",
        beside=now.evaluator.beside if now.evaluator else None,
        canary=now.evaluator.canary if now.evaluator else None,
        freshness=monitor.freshness(),
        let_go=monitor.let_go(),
        engines=now.server.engines if now.server else (),
        servers=now.servers,
        live=now.learner.live if now.learner else "",
        distrusted=now.learner.distrusted if now.learner else (),
        candidates=candidates,
        verdicts={number: verdict for number, verdict in verdicts.items() if verdict is not None},
        closing=any(s.ending for s in now.shards),
    )
