"""One run of one pipeline: services, topics, shards, first version, actors, the replay if any, and the end of it.

Owns the order in which these come and go. Does not know what is shown or how.
"""

import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing
from pathlib import Path

import msgspec
import torch
from msgspec import Struct

from deploy import audit
from deploy.actors import System
from deploy.bootstrap import bootstrap
from deploy.config import Settings
from deploy.console import View
from deploy.embedded import Service, start_broker, start_store
from deploy.history import backwards
from deploy.monitor import Monitor, Progress
from deploy.pipeline import Pipeline, load
from deploy.registry import Registry
from deploy.replay import Replay
from deploy.restore import restore
from deploy.roles import Plan, partitions
from learners.batches import Encoder, Inputs
from streams.errors import ConfigError, ShadowstreamError, Unreachable
from streams.kafka import Sink, Source, ensure_topics, topic_settings
from streams.outputs.samples import number
from streams.retention import check
from streams.store import Store

EMBEDDED_FETCH_WAIT_MS = 5  # its long poll does not wake on new data
KAFKA_FETCH_WAIT_MS = 20  # one fetch is in flight at a time: a silent partition's long wait delays the busy ones
LOOK_EVERY_S = 0.25
CLOSE_S = 60.0
ADDRESSES = "embedded.json"


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


def found(settings: Settings, folder: Path) -> Settings:
    """Give the settings with the addresses of the embedded services of whatever runs in this folder."""
    there = msgspec.json.decode((folder / ADDRESSES).read_bytes(), type=Addresses)
    redis = msgspec.structs.replace(settings.redis, url=there.store) if settings.redis.embedded else settings.redis
    bootstrap = settings.kafka.bootstrap or there.bootstrap
    return msgspec.structs.replace(
        settings, redis=redis, kafka=msgspec.structs.replace(settings.kafka, bootstrap=bootstrap)
    )


def warnings(settings: Settings, topics: Sequence[str]) -> list[str]:
    """Check the topics' real retention and compaction against the join's windows.

    Raises:
        ConfigError: records could go before they are read.
    """
    j = settings.join
    told = topic_settings(settings.kafka, topics)
    return check(told, window_s=j.window_s, keep_s=j.keep_s, slack_s=j.slack_s, align_s=j.align_s)


class Addresses(Struct, frozen=True):
    """Where a run's embedded services are, for `status`; never an address of the user's: it may hold a password."""

    bootstrap: str | None
    store: str | None


class Session:
    """A context manager: entering starts everything, leaving ends what was started here."""

    def __init__(self, path: Path, settings: Settings, say: Callable[[str], None], *, fresh: bool) -> None:
        self._say = say
        self.pipeline: Pipeline = load(path)
        self._path, self._settings, self._fresh = path, settings, fresh
        self._check()
        self.folder = Path(settings.registry.path).resolve() / self.pipeline.name
        self._stack, self._system = ExitStack(), System(settings.ray.address)
        self._embedded: list[Service] = []
        self.replay: Replay | None = None
        self.loop_seconds = 0.0
        self._began = self._loop_began = time.monotonic()

    def __enter__(self) -> "Session":
        torch.set_num_threads(1)  # the networks are small, and the actors take the cores
        with ExitStack() as stack:
            self._prepare_folder()
            self._say("starting broker, store and actors")
            plan = self._services(stack)
            self._create(plan)
            stack.enter_context(self._system)
            self._system.start(plan)
            self._say("training the first version on history" if self.pipeline.history else "making the first version")
            bootstrap(self.pipeline, self.registry)
            self._system.run()
            self._stack = stack.pop_all()
        self._loop_began = time.monotonic()
        return self

    def __exit__(self, kind: object, error: BaseException | None, at: object) -> None:
        try:
            if isinstance(error, Unreachable):
                self._check_embedded()
        finally:
            self._stack.close()

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
        topics = self._settings.topics
        names = {"requests": self.topics.requests, "outcomes": self.topics.outcomes}
        sink = Sink(self.plan.settings.kafka)
        self.replay = Replay(self.pipeline.feed(), names, topics.partitions, self._settings.replay.lead_s, sink)
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
        join, partitions = self._settings.join, self._settings.topics.partitions
        if join.joiners > partitions:
            raise ConfigError(
                f"join.joiners = {join.joiners}, but each topic has topics.partitions = {partitions}: at most one each"
            )
        if join.absent == "negative" or join.reduce == "list":
            raise ConfigError(
                "join.absent = 'negative' and join.reduce = 'list' are for `shadowstream join` alone: the learner "
                "takes final labels that are numbers"
            )

    def _prepare_folder(self) -> None:
        if self._fresh:
            shutil.rmtree(self.folder, ignore_errors=True)
        embedded = self._settings.kafka.bootstrap is None
        if embedded and (self.folder / "champion").is_dir():
            raise ConfigError(
                f"{self.folder} holds a feed whose log was in an embedded broker, and that is gone; "
                "--fresh deletes it and begins anew, kafka.bootstrap names a broker that lasts"
            )
        self.registry = Registry(self.folder)

    def _services(self, stack: ExitStack) -> Plan:
        kafka, redis = self._settings.kafka, self._settings.redis
        services = self.folder / "services"
        if redis.embedded:
            redis = msgspec.structs.replace(redis, url=self._serve(stack, start_store(services)))
        embedded = kafka.bootstrap is None
        if embedded:
            kafka = msgspec.structs.replace(kafka, bootstrap=self._serve(stack, start_broker(services)))
        self.plan = Plan(
            pipeline=self._path.resolve(),
            settings=msgspec.structs.replace(self._settings, kafka=kafka, redis=redis),
            registry=self.folder,
            fetch_wait_ms=EMBEDDED_FETCH_WAIT_MS if embedded else KAFKA_FETCH_WAIT_MS,
        )
        return self.plan

    def _serve(self, stack: ExitStack, service: Service) -> str:
        self._embedded.append(stack.enter_context(service))
        return service.address

    def _create(self, plan: Plan) -> None:
        self.topics = self._settings.topics.named(self.pipeline.name)
        names = (self.topics.requests, self.topics.predictions, self.topics.outcomes, self.topics.dead)
        ensure_topics(plan.settings.kafka, dict.fromkeys(names, self._settings.topics.partitions))
        for warning in warnings(plan.settings, (self.topics.predictions, self.topics.outcomes)):
            self._say(f"warning: {warning}")
        self._store = Store(plan.settings.redis)
        self._store.check()
        self._create_shards(plan)
        self.monitor = Monitor(self.pipeline.name, self._settings.join.shards, self._store, self.registry)
        given, resolved = self._settings, plan.settings
        embedded = Addresses(
            None if given.kafka.bootstrap else resolved.kafka.bootstrap,
            resolved.redis.url if given.redis.embedded else None,
        )
        (self.folder / ADDRESSES).write_bytes(msgspec.json.encode(embedded))

    def _create_shards(self, plan: Plan) -> None:
        """Create the feed's shards; those that the store has lost go on behind what was learned of them."""
        tps = partitions(self.topics.predictions, plan) + partitions(self.topics.outcomes, plan)
        with closing(Source(plan.settings.kafka, tps)) as source:
            starts: dict[tuple[str, int], int] = dict(source.starts().items())
        join, name = self._settings.join, self.pipeline.name
        restored = restore(self._store, self.registry, name, join)
        for shard, position in restored.items():
            self._say(
                f"the store has lost shard {shard}: rebuilt from {number(position):,} committed samples, "
                "and the log is joined again from its start"
            )
        self._store.create(name, join.shards, tps, starts, restored)

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

    def _check_embedded(self) -> None:
        for service in self._embedded:
            if service.exit_code is not None:
                what = f"the embedded {service.log.stem} ended with exit code {service.exit_code}"
                raise Unreachable(f"{what}; its log is {service.log}")

    def _look(self) -> View:
        self._check_embedded()
        self._system.check()
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

    def example_inputs(self, rows: int) -> Inputs:
        """Give encoded features of the newest samples learned."""
        samples = next((c.read() for c in backwards(self.registry) if c.samples), [])
        encoder = Encoder(self.pipeline.features, self.pipeline.encode)
        return encoder.inputs(samples[-rows:])


def look(feed: str, monitor: Monitor) -> View:
    """Take one look at a feed, for people."""
    now, candidates = monitor.progress(), monitor.candidates()
    verdicts = {c.number: monitor.verdict(c.number) for c in candidates}
    joined = sum(at.records for s in now.shards for at in s.positions.values())
    at_ms = max(at.t_ms for s in now.shards for at in s.positions.values())
    watermark_ms = min(s.watermark_ms for s in now.shards)
    return View(
        name=feed,
        at_ms=at_ms,
        events=joined + (now.server.served if now.server else 0),
        waiting=sum(s.counters["waiting"] for s in now.shards),
        unread=sum(s.unread for s in now.shards),
        lag_ms=at_ms - watermark_ms if watermark_ms > 0 else 0,
        learned=now.learner.learned if now.learner else 0,
        metrics=monitor.metrics(),
        trial=now.evaluator.trial if now.evaluator else None,
        champions=monitor.champions(),
        candidates=candidates,
        verdicts={number: verdict for number, verdict in verdicts.items() if verdict is not None},
        closing=any(s.ending for s in now.shards),
    )
