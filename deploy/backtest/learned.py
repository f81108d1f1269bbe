"""Events learned again, by all roles of the loop in one process, into a registry that is thrown away.

Owns the turns of the roles, which are those of a replay (`deploy/run/replay.py`): a slice's outcomes are told when its
requests are answered, and the next slice begins when nothing of this one is outstanding. So what is decided is what a
replay of these events decides. The store is embedded, the log in memory (`log.py`). Does not know other policies.
"""

import math
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from functools import partial
from itertools import groupby
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from msgspec import Struct
from msgspec.structs import replace

from deploy import config, contradictions
from deploy.backtest.events import Events, Happened
from deploy.backtest.log import Log, LogClients
from deploy.checks.tasks import check_negative
from deploy.config import Settings
from deploy.doubts import Judge
from deploy.embedded.servers import start_store
from deploy.learning.bootstrap import bootstrap
from deploy.learning.rehearsal import rehearse
from deploy.loading import users_code
from deploy.monitor import Monitor, counted
from deploy.pipeline import Pipeline
from deploy.processes.roles import JOINER_PREFIX, Plan, Role, build_on, names
from deploy.registry.kinds import ASKED, SERVER, TOLD
from deploy.registry.notes import SliceNote
from deploy.registry.opening import open_registry
from deploy.registry.registry import Registry
from deploy.registry.storage.home import Home, home
from deploy.run.stall import until
from streams.dead import refusals
from streams.errors import ConfigError
from streams.join.dates import day
from streams.join.store import Store
from streams.kafka import Tp
from streams.kafka.records import tp_name

SAY_EVERY_S, REST_S = 10.0, 0.001
JOINER = f"{JOINER_PREFIX}0"
REASONS = 3  # of refused events that are said


class Learned(Struct, frozen=True, kw_only=True):
    """What became of events that were learned again: how many of each were read, and what the join made of them.

    `refused` have no sample, each `why` with its count; `unlabelled` requests have no outcome. It took `seconds`.
    """

    requests: int
    outcomes: int
    samples: int
    unlabelled: int
    refused: int
    why: dict[str, int]
    seconds: float


@contextmanager
def learned(
    path: Path, pipeline: Pipeline, settings: Settings, events: Events, say: Callable[[str], None]
) -> Iterator[tuple[Home, Settings, Learned]]:
    """Learn the events of a pipeline.py; yield where the record is until the `with` ends, its settings, and counts.

    Raises:
        ConfigError: the pipeline or its settings cannot work, or nothing could be learned.
        Stalled: the loop does not finish a slice.
    """
    contradictions.check(
        settings, pipeline.name, learns=True, replays=True, private=pipeline.online.private is not None
    )
    check_negative(pipeline.task, settings.join)
    rehearse(pipeline)
    torch.set_num_threads(1)  # as all roles do
    began_s = time.monotonic()
    with TemporaryDirectory(prefix="shadowstream-") as place:
        with ExitStack() as stack:
            store = stack.enter_context(start_store(Path(place) / "services", synced=False))
            alone = _alone(settings, place, store.address)
            roles = Roles(path, pipeline, alone, events, stack, say)
            roles.play(events.happened)
            made = roles.found(time.monotonic() - began_s)
        yield home(place, pipeline.name), replace(settings, registry=alone.registry), made


class Roles:
    """The roles of a feed, which take turns; `stack` closes what they use."""

    def __init__(
        self, path: Path, pipeline: Pipeline, settings: Settings, events: Events, stack: ExitStack,
        say: Callable[[str], None],
    ) -> None:  # fmt: skip
        self._pipeline, self._settings, self._say = pipeline, settings, say
        self._topics = topics = settings.topics.named(pipeline.name)
        at, asked = home(settings.registry.path, pipeline.name), events.partitions[topics.requests]
        self._log = Log(events.partitions | {topics.predictions: asked, topics.dead: 1})
        self._counts = {topics.requests: 0, topics.outcomes: 0}
        self._store = stack.enter_context(closing(Store(settings.redis)))
        joined = [Tp(topic, n) for topic in (topics.predictions, topics.outcomes)
                  for n in range(self._log.partitions[topic])]  # fmt: skip
        self._store.create(pipeline.name, settings.join.shards, joined)
        registry = open_registry(at)
        with users_code("the first version"):
            bootstrap(pipeline, registry, engines=settings.serve.engines)
        plan = Plan(pipeline=path.resolve(), settings=settings, registry=at, fetch_wait_ms=0, replay=True)
        clients = LogClients(settings, stack, self._log, topics.requests)
        self._roles = {name: build_on(clients, name, plan, pipeline) for name in names(settings)}
        judge = Judge(pipeline.name, pipeline.as_feed().readers(topics), settings.join)
        self._monitor = Monitor(judge, self._store, Registry(at))

    def play(self, events: Sequence[Happened]) -> None:
        """Take all events, slice by slice, and close the windows that are open at their end."""
        lead_ms, said_s = max(1, int(self._settings.replay.lead_s * 1_000)), time.monotonic()
        asked, told = self._topics.requests, self._topics.outcomes
        for number, (_, group) in enumerate(groupby(events, key=lambda one: one.t_ms // lead_ms), 1):
            happened = list(group)
            at = f"the slice at event time {happened[-1].t_ms} ms"
            ends = self._publish(happened, asked)
            self._put(ASKED.entry(SliceNote(number, ends)))
            self._until(partial(self._monitor.answered, ends), [self._roles[SERVER.name]], at)
            while self._roles[JOINER].step(0):
                pass
            ends = self._publish(happened, told)
            self._put(TOLD.entry(SliceNote(number, ends)))
            self._until(partial(self._settled, ends), self._all, at)
            if time.monotonic() - said_s > SAY_EVERY_S:
                said_s = time.monotonic()
                counts = self._counts
                self._say(f"{day(happened[-1].t_ms)}: {counts[asked]:,} requests, {counts[told]:,} outcomes")
        for shard in range(self._settings.join.shards):
            self._store.close_feed(self._pipeline.name, shard)
        self._until(self._closed, self._all, "the windows at the end")

    def found(self, seconds: float) -> Learned:
        """Return what became of the events.

        Raises:
            ConfigError: nothing could be learned.
        """
        shards = self._monitor.progress().shards
        counts, why = counted(shards), Counter[str]()
        for one in refusals(self._log.unread(Tp(self._topics.dead, 0))).values():
            why[one.letter.reason] += one.positions
        made = Learned(
            requests=self._counts[self._topics.requests],
            outcomes=self._counts[self._topics.outcomes],
            samples=sum(counts[name] for name in ("joined", "negative")),
            unlabelled=counts["unlabelled"],
            refused=why.total(),
            why=dict(why.most_common(REASONS)),
            seconds=seconds,
        )
        if not made.samples:
            said = "".join(f"; {n:,} refused: {reason}" for reason, n in made.why.items())
            raise ConfigError(
                f"of {made.requests:,} requests and {made.outcomes:,} outcomes nothing can be learned: no outcome has "
                f"the id of a request in its window{said}"
            )
        return made

    def _publish(self, happened: Sequence[Happened], topic: str) -> dict[str, int]:
        """Append those of a topic to the log; return its ends."""
        for one in happened:
            if one.record.topic == topic:
                self._log.append(Tp(topic, one.record.partition), one.record)
                self._counts[topic] += 1
        return {tp_name(tp): end for tp, end in self._log.ends.items() if tp.topic == topic}

    def _put(self, note: dict[str, bytes]) -> None:
        self._store.put(self._pipeline.name, note)

    def _until(self, done: Callable[[], bool], roles: Sequence[Role], what: str) -> None:
        """Let these roles take their turns until something is done."""
        for _ in until(done, self._monitor, f"the loop does not finish {what}", self._settings.replay.stall_s):
            if not sum(bool(role.step(0)) for role in roles):
                time.sleep(REST_S)

    @property
    def _all(self) -> list[Role]:
        return list(self._roles.values())

    def _settled(self, ends: dict[str, int]) -> bool:
        return self._monitor.progress().settled(ends)

    def _closed(self) -> bool:
        now = self._monitor.progress()
        if any(shard.counters["waiting"] or shard.counters["early"] for shard in now.shards):
            return False
        if now.learner is None or not now.distiller or now.distiller.commit < now.learner.commit:
            return False
        return now.settled({})


def _alone(settings: Settings, place: str, store: str) -> Settings:
    """Return the settings of one process with a store of its own, which learns as a replay does.

    Neither the user's store nor their registry is in them, and no key.
    """
    return replace(
        settings,
        redis=config.Redis(url=store),
        registry=config.Registry(path=place),
        join=replace(settings.join, joiners=1, align_s=math.inf),
        serve=replace(settings.serve, servers=1),
        learn=replace(settings.learn, commit_s=0.0),
        metrics=config.Metrics(),
    )
