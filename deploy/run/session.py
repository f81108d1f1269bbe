"""A run of a pipeline that has begun: its looks, the replay if there is one, and its figures.

Owns what a look follows: services and actors that ended, partitions that were added. Does not know tables, nor what is
shown.
"""

import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from deploy.config import Settings
from deploy.embedded.services import Services
from deploy.lineages import Lineages
from deploy.monitor import Monitor, View, look, nothing
from deploy.pipeline import Pipeline
from deploy.registry.commits import backwards
from deploy.registry.learned import count_learned, equations
from deploy.registry.registry import Registry
from deploy.registry.reigns import base
from deploy.run.claim import Claim
from deploy.run.left import Left, left
from deploy.run.partitions import Partitions
from deploy.run.pulse import Pulse
from deploy.run.rate import Rate
from deploy.run.replay import Replay
from deploy.run.stall import until
from deploy.run.summary import BATCHES, Balance, Published, Speeds, refused, speeds
from learners.online.batches import Inputs
from streams.errors import ConfigError, PositionError, StoreRefused, Unreachable
from streams.join.store import Store
from streams.kafka import Sink

if TYPE_CHECKING:
    from deploy.processes.actors.system import System

LOOK_EVERY_S = 0.25


class Act(NamedTuple):
    """Something that is done in a replay, when it has reached a time."""

    at_ms: int
    do: Callable[["Session"], object]


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
    _last: View | None = None
    _silent_s: float = 0.0
    _contradiction: str = ""
    _pulse: Pulse = field(init=False)
    _requests: str = field(init=False)

    def __post_init__(self) -> None:
        topics = self.settings.topics.named(self.pipeline.name)
        self._requests = topics.requests
        self._pulse = Pulse(self.pipeline.name, self._store, topics.requests, topics.outcomes)

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
        samples = f"the commits in {self.registry.home}; what was not learned yet is in the store"
        return left(seen.shards, samples, lasting=self._services.lasting)

    def live(self) -> Iterator[View]:
        """Run until the caller stops; yield a look every `LOOK_EVERY_S`."""
        while True:
            yield self.look()
            time.sleep(LOOK_EVERY_S)

    def play(self, acts: Sequence[Act] = ()) -> Iterator[View]:
        """Replay the pipeline's feed to its end and close its windows; yield a look every `LOOK_EVERY_S`.

        `acts`, in the order of their times, are done once the feed has reached these and all of it is settled.

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
        note = partial(self._store.put, self.pipeline.name)
        with closing(Sink(self.settings.kafka)) as sink:
            self.replay = Replay(self.pipeline.feed(), names, counts, self.settings.replay, sink, note)
            coming = deque(acts)
            for settled in self.replay.run(self.monitor):
                while settled and coming and coming[0].at_ms <= self.replay.at_ms:
                    coming.popleft().do(self)
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
        """Return what the replay has published, and what of it was refused, and why.

        Raises:
            ConfigError: there was no replay.
        """
        if self.replay is None:
            raise ConfigError("nothing was replayed")
        counts, topics = self.replay.published, self.settings.topics.named(self.pipeline.name)
        requests, reasons = refused(self.settings.kafka, topics)
        return Published(counts["requests"], counts["outcomes"], requests, reasons, self.loop_seconds)

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
        learned -= sum(s.counters["corrected"] for s in now.shards)  # which are measured in place of what they correct
        if not (now.distiller and now.learner and now.distiller.commit >= now.learner.commit):
            return False
        return now.settled(replay.ends["outcomes"]) and metrics is not None and metrics.total["served"].count == learned

    def look(self) -> View:
        """Take one look, and follow what changed: services and actors that ended, partitions that were added.

        A service that does not answer ends nothing: then the look is the last one, and says so. Nor does a role that
        has ended with an error, but for the server, or a topic that is gone, but for what is served, unless
        `serve.on_contradiction` is "stop", or this is a replay.
        """
        self._claim.check()
        self._services.check()
        serves_on = self.replay is None and self.settings.serve.on_contradiction == "serve"
        try:
            self._system.check(serves_on=serves_on)
            self._follow()
        except (PositionError, StoreRefused) as wrong:
            if not (serves_on and self._partitions.serving):
                self._partitions.look_closer()
                raise
            self._contradiction = str(wrong)
        view, trouble = self._seen(serves_on=serves_on)
        now, replay = time.monotonic(), self.replay
        trouble = (*trouble, *filter(None, (self._contradiction,)), *self._system.lines)
        at_ms = replay.at_ms if replay else view.at_ms
        return msgspec.structs.replace(
            view,
            seconds=now - self._began_s,
            at_ms=at_ms,
            share=replay.share(self.pipeline.feed_ends_ms) if replay else None,
            events_per_second=self._rate.of(now, view.records, view.served),
            held=[one.line for one in self._partitions.held],
            trouble=trouble,
            pulse=self._pulse.take(self.monitor.last, self._partitions.ends, self._system.roles, trouble),
        )

    def _seen(self, *, serves_on: bool) -> tuple[View, tuple[str, ...]]:
        """Return what is seen now, or was last, and why that is not new."""
        try:
            self._last = look(self.pipeline.name, self.monitor)
        except Unreachable as wrong:
            self._silent_s = self._silent_s or time.monotonic()
            since_s = time.monotonic() - self._silent_s
            return self._last or nothing(self.pipeline.name), (f"{wrong}; waiting for it since {since_s:.0f} s",)
        except StoreRefused as wrong:
            if not serves_on:
                raise
            self._contradiction = str(wrong)
            return self._last or nothing(self.pipeline.name), ()
        self._silent_s = 0.0
        return self._last, ()

    def _follow(self) -> None:
        """Have new partitions read, as soon as the store answers."""
        with suppress(Unreachable):
            if self._partitions.follow():
                self._system.reassign(self._partitions.counts[self._requests])

    def speeds(self) -> Speeds:
        """Time the version that serves beside its model in float, on the newest samples, else the first of history."""
        newest, engines = base(self.monitor.champions()), self.settings.serve.engines
        lineages = Lineages(self.pipeline, self.registry, engines=engines)
        of = lineages.of(newest)
        return speeds(newest.number, lineages.load(newest), of.model().eval(), self.example_inputs(of, max(BATCHES)))

    def example_inputs(self, of: Pipeline, rows: int) -> Inputs | None:
        """Return what a pipeline encodes of the newest samples learned, `rows` at most, or of its history, if any."""
        encoder = of.encoder()
        if samples := next((c.read() for c in backwards(self.registry) if c.shadow), []):
            return encoder.inputs(samples[-rows:])
        past = list(islice(of.history(), rows)) if of.history else []
        return encoder.encode([row.features for row in past]) if past else None
