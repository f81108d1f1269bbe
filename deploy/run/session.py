"""One run of one pipeline: services, topics, shards, first version, actors, the replay if any, and the end of it.

Owns the order in which these come and go. Does not know what is shown or how.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from types import TracebackType

import msgspec
import torch

from deploy.config import Settings
from deploy.embedded.services import ADDRESSES, Services, found
from deploy.learning.bootstrap import bootstrap
from deploy.monitor import Monitor, Progress, View, look
from deploy.pipeline import Pipeline, load
from deploy.processes.actors import System
from deploy.processes.roles import Plan
from deploy.registry import learned as audit
from deploy.registry.history import backwards
from deploy.registry.registry import Registry
from deploy.run.partitions import begin
from deploy.run.replay import Replay
from deploy.run.restore import restore
from learners.online.batches import Encoder, Inputs
from streams.errors import ConfigError, ShadowstreamError, Unreachable
from streams.join.store import Store
from streams.kafka import Sink
from streams.outputs.samples import number

LOOK_EVERY_S = 0.25
CLOSE_S = 60.0


def status(path: Path, settings: Settings) -> View:
    """Look at a running pipeline from another process.

    Raises:
        ConfigError: nothing of this pipeline is in the registry.
    """
    pipeline = load(path)
    folder = Path(settings.registry.path).resolve() / pipeline.name
    if not (folder / ADDRESSES).is_file():
        raise ConfigError(f"{folder} holds no feed; `shadowstream run {path}` makes one")
    monitor = Monitor(pipeline.name, settings.join.shards, Store(found(settings, folder).redis), Registry(folder))
    return look(pipeline.name, monitor)


class Session:
    """A context manager: entering starts everything, leaving ends what was started here."""

    def __init__(self, path: Path, settings: Settings, say: Callable[[str], None], *, fresh: bool) -> None:
        self._say = say
        self.pipeline: Pipeline = load(path)
        self._path, self._settings = path, settings
        self._check()
        self.folder = Path(settings.registry.path).resolve() / self.pipeline.name
        self._stack, self._system = ExitStack(), System(settings.ray.address)
        self._services = Services(settings, self.folder, lambda _: None, fresh=fresh, mark="champion")
        self.replay: Replay | None = None
        self.loop_seconds = 0.0
        self._began = self._loop_began = time.monotonic()

    def __enter__(self) -> "Session":
        torch.set_num_threads(1)  # the networks are small, and the actors take the cores
        with ExitStack() as stack:
            self._say("starting broker, store and actors")
            self.plan = self._begin(stack)
            stack.enter_context(self._system)
            self._system.start(self.plan)
            self._say("training the first version on history" if self.pipeline.history else "making the first version")
            bootstrap(self.pipeline, self.registry)
            self._system.run()
            self._stack = stack.pop_all()
        self._loop_began = time.monotonic()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._stack.__exit__(kind, error, at)

    def live(self) -> Iterator[View]:
        """Run until the caller stops; gives a look now and then."""
        while True:
            yield self._look()
            time.sleep(LOOK_EVERY_S)

    def play(self) -> Iterator[View]:
        """Replay the pipeline's feed to its end and close it; gives a look now and then.

        Raises:
            ConfigError: the pipeline has no feed.
        """
        if self.pipeline.feed is None:
            raise ConfigError("this pipeline has no feed to replay: give Pipeline(feed=...)")
        topics = self._settings.topics.named(self.pipeline.name)
        names = {"requests": topics.requests, "outcomes": topics.outcomes}
        sink = Sink(self.plan.settings.kafka)
        self.replay = Replay(self.pipeline.feed(), names, self._partitions.counts, self._settings.replay.lead_s, sink)
        self._loop_began, looked = time.monotonic(), 0.0
        for _ in self.replay.run(self.monitor):
            if time.monotonic() - looked > LOOK_EVERY_S:
                looked = time.monotonic()
                yield self._look()
        yield from self._close(self.replay)
        self.loop_seconds = time.monotonic() - self._loop_began
        sink.close()
        yield self._look()

    def audit(self) -> tuple[list[audit.Equation], audit.Learned, Progress]:
        """Check the join's equations and count what was learned."""
        progress, learned = self.monitor.progress(), audit.learned(self.registry)
        return audit.equations(progress.shards, learned), learned, progress

    def _check(self) -> None:
        """Refuse what the parts cannot do together."""
        join = self._settings.join
        if join.absent == "negative" or join.reduce == "list":
            raise ConfigError(
                "join.absent = 'negative' and join.reduce = 'list' are for `shadowstream join` alone: the learner "
                "takes final labels that are numbers"
            )

    def _begin(self, stack: ExitStack) -> Plan:
        name, settings = self.pipeline.name, stack.enter_context(self._services).settings
        self.registry = Registry(self.folder)
        self._store = Store(settings.redis)
        topics = settings.topics.named(name)
        others = {topics.requests: topics.partitions}
        made = begin(name, settings, self._store, self._say, others, self._restored())
        if settings.join.joiners > made.most:
            raise ConfigError(
                f"join.joiners = {settings.join.joiners}, but predictions and outcomes have {made.most} partitions at "
                "most: at most one joiner each; topics.partitions is how many new topics get"
            )
        self._partitions = stack.enter_context(made)
        self.monitor = Monitor(name, settings.join.shards, self._store, self.registry)
        return Plan(
            pipeline=self._path.resolve(),
            settings=settings,
            registry=self.folder,
            fetch_wait_ms=self._services.fetch_wait_ms,
        )

    def _restored(self) -> dict[int, str]:
        """Have shards that the store has lost go on behind what was learned of them; gives their positions."""
        restored = restore(self._store, self.registry, self.pipeline.name, self._settings.join)
        for shard, position in restored.items():
            self._say(
                f"the store has lost shard {shard}: rebuilt from {number(position):,} committed samples, "
                "and the log is joined again from its start"
            )
        return restored

    def _close(self, replay: Replay) -> Iterator[View]:
        for shard in range(self._settings.join.shards):
            self._store.close_feed(self.pipeline.name, shard)
        began = time.monotonic()
        while not self._closed(self.monitor.progress(), replay):
            if time.monotonic() - began > CLOSE_S:
                raise ShadowstreamError(f"the feed's windows did not close within {CLOSE_S:.0f} s")
            yield self._look()
            time.sleep(0.1)

    def _closed(self, now: Progress, replay: Replay) -> bool:
        if any(s.counters["waiting"] or s.counters["early"] for s in now.shards):
            return False
        metrics, learned = self.monitor.metrics(), now.learner.learned if now.learner else 0
        return now.settled(replay.ends["outcomes"]) and metrics is not None and metrics.total["served"][0] == learned

    def _look(self) -> View:
        self._services.check()
        self._system.check()
        self._follow()
        view = look(self.pipeline.name, self.monitor)
        now, replay = time.monotonic(), self.replay
        at_ms = replay.at_ms if replay else view.at_ms
        return msgspec.structs.replace(
            view,
            seconds=now - self._began,
            at_ms=at_ms,
            share=replay.share(self.pipeline.feed_ends_ms) if replay else None,
            events_per_second=view.events / max(now - self._loop_began, 1e-9),
        )

    def _follow(self) -> None:
        """Have partitions that were added read: whoever reads begins anew, and asks which there are."""
        with suppress(Unreachable):
            if grown := self._partitions.follow():
                self._say(f"partitions were added: {', '.join(f'{t} has {self._partitions.counts[t]}' for t in grown)}")
                self._system.reassign()

    def example_inputs(self, rows: int) -> Inputs:
        """Give encoded features of the newest samples learned."""
        samples = next((c.read() for c in backwards(self.registry) if c.samples), [])
        encoder = Encoder(self.pipeline.features, self.pipeline.encode)
        return encoder.inputs(samples[-rows:])
