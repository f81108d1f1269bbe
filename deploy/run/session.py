"""One run of one pipeline: services, topics, shards, first version, actors, the replay if there is one, and the end.

Owns the order in which these are started and ended. Does not know tables, nor what is shown.
"""

import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, closing, contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import torch

from compressors.artifact import format as artifact
from compressors.weight_reads import is_read_past
from deploy import contradictions
from deploy.config import Settings, set_ray_aside
from deploy.doubts import Judge
from deploy.embedded.services import Services, provided
from deploy.engine import load as load_engine
from deploy.feed import Feed
from deploy.learning.bootstrap import bootstrap
from deploy.learning.rehearsal import rehearse
from deploy.loading import users_code
from deploy.monitor import Monitor, View, look
from deploy.pipeline import Pipeline, load
from deploy.processes.failures import brief
from deploy.processes.roles import Plan
from deploy.registry.commits import backwards
from deploy.registry.kinds import CHAMPIONS
from deploy.registry.learned import count_learned, equations
from deploy.registry.registry import Registry
from deploy.run.claim import Claim, claimed
from deploy.run.left import Left, left
from deploy.run.partitions import Partitions, Say, begin
from deploy.run.rate import Rate
from deploy.run.replay import Replay
from deploy.run.restore import restore
from deploy.run.stall import until
from deploy.run.summary import BATCHES, Balance, Published, Speeds, refused_requests, speeds
from learners.online.batches import Inputs
from streams.errors import ConfigError, PositionError, Unreachable
from streams.join.store import Store
from streams.kafka import Sink
from streams.outputs.samples import number

if TYPE_CHECKING:
    from deploy.processes.actors import System

LOOK_EVERY_S = 0.25
FIRST_VERSION = str(CHAMPIONS.path(Path(), 0))  # in a feed's folder: without it nothing was ever served


@contextmanager
def running(
    path: Path, settings: Settings, say: Say, *, fresh: bool, replay: bool = False, take_over: bool = False
) -> Iterator["Session"]:
    """Start everything that a pipeline needs; leaving the `with` ends what was started here.

    `fresh` first deletes all that the registry's folder holds of the pipeline; `replay` says that `play` will follow.
    `take_over` takes the pipeline from another run.

    Raises:
        InUse: another run has the pipeline.
        ConfigError: the pipeline or its settings cannot work.
        Unreachable: a service does not answer.
        StoreRefused: the store holds another feed of this name, or must not be used.
    """
    began_s, pipeline = time.monotonic(), load(path)
    if replay and pipeline.feed is None:
        raise ConfigError(f"pipeline {pipeline.name!r} has no recorded feed to replay; set Pipeline(feed=...)")
    contradictions.check(settings, pipeline.name, learns=True, every_days=pipeline.promotion.every_days)
    rehearse(pipeline)
    torch.set_num_threads(1)  # the networks are small, and the actors take the cores
    folder = Path(settings.registry.path).resolve() / pipeline.name
    say("starting broker, store and actors")
    with (
        claimed(pipeline.name, folder, settings, say, take_over=take_over) as claim,
        provided(settings, folder, say, fresh=fresh, mark=FIRST_VERSION) as services,
        claim.held(services.settings, say),
        closing(Store(services.settings.redis)) as store,
    ):
        settings, registry = services.settings, Registry(folder)
        plan = Plan(pipeline=path.resolve(), settings=settings, registry=folder, fetch_wait_ms=services.fetch_wait_ms)
        made = _partitions(pipeline.as_feed(), settings, store, registry, say)
        with made as partitions, _started(plan) as system:
            with users_code("the first version"):
                first_version(pipeline, registry, say, engines=settings.serve.engines)
            services.holds = True
            system.run()
            yield Session(
                pipeline=pipeline,
                settings=settings,
                registry=registry,
                monitor=Monitor(_judge(pipeline, settings), store, registry),
                _claim=claim,
                _services=services,
                _store=store,
                _partitions=partitions,
                _system=system,
                _began_s=began_s,
            )


def _started(plan: Plan) -> "AbstractContextManager[System]":
    """Start the actors. Ray is imported only now: one of a cluster's variables could end the process as it is."""
    if plan.settings.ray.address is None:
        set_ray_aside()
    try:
        actors = import_module("deploy.processes.actors")
    except (ImportError, ValueError) as wrong:
        raise ConfigError(f"Ray cannot be imported: {brief(wrong)}; check the variables RAY_...") from wrong
    system: AbstractContextManager[System] = actors.started(plan, plan.settings.ray.address)
    return system


def first_version(pipeline: Pipeline, registry: Registry, say: Say, *, engines: bool = False) -> None:
    """Make the first version where there is no version yet, and say so; say which one serves otherwise."""
    if (champion := registry.last(CHAMPIONS)) >= 0:
        say(f"v{champion} serves, as before")
        return
    say("training the first version on history" if pipeline.history else "making the first version")
    bootstrap(pipeline, registry, engines=engines)
    first = registry.record(CHAMPIONS, 0)
    for name, why in artifact.describe(registry.get(first.artifact)).left.items() if first else ():
        if is_read_past(why):
            say(f"{name} stays in float: {why}")


def _judge(pipeline: Pipeline, settings: Settings) -> Judge:
    readers = pipeline.as_feed().readers(settings.topics.named(pipeline.name))
    return Judge(pipeline.name, readers, settings.join)


def _partitions(feed: Feed, settings: Settings, store: Store, registry: Registry, say: Say) -> Partitions:
    """Create topics and shards; a shard that the store has lost goes on after what was learned of it."""
    topics, join = settings.topics.named(feed.name), settings.join
    restored = restore(store, registry, feed.name, join)
    for shard, position in restored.items():
        say(
            f"the store has lost shard {shard}: rebuilt from {number(position):,} committed samples, "
            "and the log is joined again from its start"
        )
    return begin(feed, settings, store, say, {topics.requests: topics.partitions}, restored)


@dataclass(kw_only=True)
class Session:
    """A run that has begun; `running` makes it. `loop_seconds` is how long a replay took."""

    pipeline: Pipeline
    settings: Settings
    registry: Registry
    monitor: Monitor
    replay: Replay | None = None
    loop_seconds: float = 0.0
    _claim: Claim
    _services: Services
    _store: Store
    _partitions: Partitions
    _system: "System"
    _began_s: float
    _rate: Rate = field(default_factory=Rate)

    @property
    def line(self) -> str:
        """How far it is, as of the last look."""
        seen = self.monitor.last
        if seen is None:
            return ""
        served = f"{seen.server.served:,} requests answered, v{seen.server.version} serves, " if seen.server else ""
        return f"{self.pipeline.name}: {served}{seen.learner.learned if seen.learner else 0:,} samples learned"

    @property
    def left(self) -> Left | None:
        """What the next start finds, as of the last look."""
        seen = self.monitor.last
        if seen is None:
            return None
        samples = f"the commits in {self.registry.folder}; what was not learned yet is in the store"
        return left(seen.shards, samples, lasting=self._services.lasting)

    def live(self) -> Iterator[View]:
        """Run until the caller stops; yield a look every `LOOK_EVERY_S`."""
        while True:
            yield self.look()
            time.sleep(LOOK_EVERY_S)

    def play(self) -> Iterator[View]:
        """Replay the pipeline's feed to its end and close its windows; yield a look every `LOOK_EVERY_S`.

        Raises:
            ConfigError: the pipeline has no feed, or an empty one.
        """
        if self.pipeline.feed is None:
            raise ConfigError("this pipeline has no feed to replay; set Pipeline(feed=...)")
        topics = self.settings.topics.named(self.pipeline.name)
        names = {"requests": topics.requests, "outcomes": topics.outcomes}
        counts = self._partitions.counts
        yield self.look()
        began = looked = time.monotonic()
        with closing(Sink(self.settings.kafka)) as sink:
            self.replay = Replay(self.pipeline.feed(), names, counts, self.settings.replay, sink)
            for _ in self.replay.run(self.monitor):
                if time.monotonic() - looked > LOOK_EVERY_S:
                    looked = time.monotonic()
                    yield self.look()
            if not any(self.replay.published.values()):
                raise ConfigError("the feed to replay is empty")
            yield from self._close(self.replay)
        self.loop_seconds = time.monotonic() - began

    def balance(self) -> Balance:
        """Return what the join has counted and what was learned, and the equations between them."""
        shards, learned = self.monitor.progress().shards, count_learned(self.registry)
        return Balance(shards, learned, equations(shards, learned))

    def published(self) -> Published:
        """Return what the replay has published, and how much of it the server refused.

        Raises:
            ConfigError: there was no replay.
        """
        if self.replay is None:
            raise ConfigError("nothing was replayed")
        counts, topics = self.replay.published, self.settings.topics.named(self.pipeline.name)
        refused = refused_requests(self.settings.kafka, topics)
        return Published(counts["requests"], counts["outcomes"], refused, self.loop_seconds)

    def _close(self, replay: Replay) -> Iterator[View]:
        for shard in range(self.settings.join.shards):
            self._store.close_feed(self.pipeline.name, shard)
        closed = partial(self._closed, replay)
        for _ in until(closed, self.monitor, "the feed's windows do not close", self.settings.replay.stall_s):
            yield self.look()
            time.sleep(0.1)

    def _closed(self, replay: Replay) -> bool:
        now = self.monitor.progress()
        if any(s.counters["waiting"] or s.counters["early"] for s in now.shards):
            return False
        metrics, learned = self.monitor.metrics(), now.learner.learned if now.learner else 0
        return now.settled(replay.ends["outcomes"]) and metrics is not None and metrics.total["served"].count == learned

    def look(self) -> View:
        """Take one look, and follow what changed: services and actors that ended, partitions that were added."""
        self._claim.check()
        self._services.check()
        try:
            self._system.check()
        except PositionError:
            self._partitions.look_closer()
            raise
        self._follow()
        view = look(self.pipeline.name, self.monitor)
        now, replay = time.monotonic(), self.replay
        at_ms = replay.at_ms if replay else view.at_ms
        return msgspec.structs.replace(
            view,
            seconds=now - self._began_s,
            at_ms=at_ms,
            share=replay.share(self.pipeline.feed_ends_ms) if replay else None,
            events_per_second=self._rate.of(now, view.records, view.served),
        )

    def _follow(self) -> None:
        """Have new partitions read, as soon as the store answers."""
        with suppress(Unreachable):
            if self._partitions.follow():
                self._system.reassign()

    def speeds(self) -> Speeds:
        """Time the version that serves beside its model in float, on the newest samples."""
        newest, engines = self.monitor.champions()[-1], self.settings.serve.engines
        served = load_engine(self.registry, newest.artifact, newest.engine, self.pipeline.model, engines=engines)
        return speeds(newest.number, served, self.pipeline.model().eval(), self.example_inputs(max(BATCHES)))

    def example_inputs(self, rows: int) -> Inputs:
        """Return the encoded features of the newest samples learned, `rows` at most."""
        samples = next((c.read() for c in backwards(self.registry) if c.samples), [])
        return self.pipeline.encoder().inputs(samples[-rows:])
