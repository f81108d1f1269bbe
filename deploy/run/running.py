"""How a run of a pipeline begins: services, topics, shards, the first version, actors.

Owns the order in which these are started and ended. Does not know what the run does, nor what is shown.
"""

import gc
import math
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path

import msgspec
import torch

from compressors.artifact import format as artifact
from compressors.weight_reads import is_read_past
from deploy import contradictions
from deploy.changes import plan as changes
from deploy.checks.tasks import check_negative
from deploy.config import Settings
from deploy.doubts import Judge
from deploy.embedded.services import KAFKA_FETCH_WAIT_MS, provided
from deploy.learning.blocks import tell
from deploy.learning.bootstrap import as_begun, bootstrap
from deploy.learning.rehearsal import rehearse
from deploy.loading import users_code
from deploy.monitor import Monitor
from deploy.pipeline import Pipeline, load
from deploy.processes.roles import Plan, names
from deploy.registry.gc.sweep import sweeping
from deploy.registry.kinds import BLOCKS, CHAMPIONS, block_name
from deploy.registry.log.sealing import sealing
from deploy.registry.opening import open_registry
from deploy.registry.registry import Registry
from deploy.registry.storage.home import home
from deploy.run import begun
from deploy.run.ahead import ahead, may_be
from deploy.run.begun import Beginning
from deploy.run.claim import claimed
from deploy.run.keeping import COSTS, check_retention, keeping
from deploy.run.nodes import everywhere, on_cluster
from deploy.run.partitions import Partitions, Say, begin
from deploy.run.restore import check_ours, restore
from deploy.run.session import Session
from streams.errors import ConfigError
from streams.join.store import Store
from streams.kafka import topics
from streams.outputs.samples import number

FIRST_VERSION = CHAMPIONS.object(0)  # without it nothing was ever served


@contextmanager
def running(
    path: Path,
    settings: Settings,
    say: Say,
    *,
    fresh: bool,
    replay: bool = False,
    take_over: bool = False,
    detached: bool = False,
    source: str | None = None,
) -> Iterator[Session]:
    """Start everything that a pipeline needs; leaving the `with` ends what was started here.

    `fresh` first deletes all that the registry's folder holds of the pipeline; `replay` says that `play` will follow.
    `take_over` takes the pipeline from another run. `detached` says that this process is an actor, and that its roles
    are to outlive it; those that another one has left are found. `source` is another registry, with whose champion and
    learner a feed begins that has not begun yet.

    Raises:
        InUse: another run has the pipeline.
        Untrusted: no trusted key has signed the version at `source`.
        ConfigError: the pipeline or its settings cannot work.
        Unreachable: a service does not answer.
        StoreRefused: the store holds another feed of this name, or must not be used.
    """
    began_s, pipeline = time.monotonic(), load(path)
    if replay and pipeline.feed is None:
        raise ConfigError(f"pipeline {pipeline.name!r} has no recorded feed to replay; set Pipeline(feed=...)")
    private = pipeline.online.private is not None
    sync_ms = pipeline.promotion.sync_ms
    contradictions.check(settings, pipeline.name, learns=True, replays=replay, private=private, sync_ms=sync_ms)
    check_negative(pipeline.task, settings.join)
    keeping(pipeline, settings)  # raises where it contradicts something
    rehearse(pipeline)
    torch.set_num_threads(1)  # the networks are small, and the actors take the cores
    if settings.ray.cluster is not None:
        settings = everywhere(settings)
    at = home(settings.registry.path, pipeline.name)
    other = None if source is None else begun.beginning(source, pipeline, settings, at, fresh=fresh)
    if settings.ray.cluster is None:
        say("starting broker, store and actors")
    attached = pipeline.theirs is not None and settings.kafka.bootstrap is not None and not replay
    planned = partial(Plan, pipeline=path.resolve(), registry=at, replay=replay, detached=detached)
    early = take_over and not replay and may_be(settings)
    with (
        on_cluster(path, settings, names(settings), at, say, detached=detached) as cluster,
        ahead(planned(settings=settings, fetch_wait_ms=KAFKA_FETCH_WAIT_MS) if early else None) as started,
        claimed(pipeline.name, at, settings, say, take_over=take_over) as claim,
        provided(settings, at, say, fresh=fresh, mark=FIRST_VERSION) as services,
        claim.held(services.settings, say),
        closing(Store(services.settings.redis)) as store,
    ):
        if cluster:
            say("starting actors")
        settings = services.settings
        opened = partial(open_registry, at, settings.registry.key, settings.registry.trusted)
        registry, kept = opened(), keeping(pipeline, settings)
        plan = planned(
            settings=_paced(settings) if replay else settings,
            fetch_wait_ms=services.fetch_wait_ms,
            carried=cluster is not None,
        )
        if attached:
            _check_theirs(pipeline, settings)
        join = settings.join
        changed = changes.plan(pipeline, join, registry, engines=settings.serve.engines)
        changed.check()
        for line in changed.lines:
            say(line)
        made, serves = _partitions(pipeline, settings, store, registry, say), registry.last(CHAMPIONS) >= 0
        if kept:
            check_retention(settings, pipeline.name)
            say(COSTS.format(kept.samples))
        swept = sweeping(at, keeping=kept, opened=opened, say=say)
        with made as partitions, sealing(at), swept, started(plan, cluster, serves=serves) as system:
            with users_code("the first version"):
                engines = settings.serve.engines
                first_version(pipeline, registry, store, say, engines=engines, other=other, again=changed.again)
            if changed.again:  # what servers would follow is of other experts
                store.drop(pipeline.name, [BLOCKS.name, block_name()])
            changes.describe(pipeline, join, registry, path=path, again=changed.again, lineage=changed.lineage)
            services.holds = True
            system.run(partitions.counts[settings.topics.named(pipeline.name).requests])
            gc.freeze()  # what was imported stays
            yield Session(
                pipeline=pipeline,
                settings=settings,
                registry=registry,
                monitor=Monitor(_judge(pipeline, settings), store, Registry(at), settings.serve.servers),
                _claim=claim,
                _services=services,
                _store=store,
                _partitions=partitions,
                _system=system,
                _began_s=began_s,
            )


def _check_theirs(pipeline: Pipeline, settings: Settings) -> None:
    """Check that another system's predictions are there: their topic is not ours to create.

    Raises:
        ConfigError: there is no such topic.
    """
    topic = settings.topics.named(pipeline.name).requests
    if topics.look(settings.kafka, [topic])[topic] is None:
        raise ConfigError(
            f"there is no topic {topic!r}: with Pipeline.theirs, topics.requests is the topic to which the other "
            "system writes its predictions"
        )


def _paced(settings: Settings) -> Settings:
    """Return the settings of a replay's roles, which pause no partition, and commit what there is.

    A replay publishes nothing of a slice before all of the last one was joined and learned. So where one partition
    waits for the watermark, the one that holds it back gets nothing more either, until it is idle; and a commit that
    waits for more waits for nothing.
    """
    join = msgspec.structs.replace(settings.join, align_s=math.inf)
    return msgspec.structs.replace(settings, join=join, learn=msgspec.structs.replace(settings.learn, commit_s=0.0))


def first_version(
    pipeline: Pipeline,
    registry: Registry,
    store: Store,
    say: Say,
    *,
    engines: bool = False,
    other: Beginning | None = None,
    again: bool = False,
) -> None:
    """Make the first version where there is no version yet, and say so; say which one serves otherwise.

    Servers answer before the learner begins: where nothing was learned since, they are told what it begins with. That
    is another one where the log is to be learned `again`.
    """
    if (champion := registry.last(CHAMPIONS)) >= 0:
        registry.record(CHAMPIONS, champion)  # raises where nobody has signed it
        say(f"v{champion} serves, as before")
        learner = None if again else as_begun(pipeline, registry)
    elif other is not None:
        learner = other.make(pipeline, registry, say)
    else:
        say("training the first version on history" if pipeline.history else "making the first version")
        learner = bootstrap(pipeline, registry, engines=engines)
        first = registry.record(CHAMPIONS, 0)
        for name, why in artifact.describe(registry.get(first.artifact)).left.items() if first else ():
            if is_read_past(why):
                say(f"{name} stays in float: {why}")
    if learner is not None:
        tell(store, pipeline.name, learner)


def _judge(pipeline: Pipeline, settings: Settings) -> Judge:
    readers = pipeline.as_feed().readers(settings.topics.named(pipeline.name))
    return Judge(pipeline.name, readers, settings.join)


def _partitions(pipeline: Pipeline, settings: Settings, store: Store, registry: Registry, say: Say) -> Partitions:
    """Create topics and shards; a shard that the store has lost goes on after what was learned of it."""
    feed, doubt = pipeline.as_feed(), pipeline.promotion.doubt
    topics, join = settings.topics.named(feed.name), settings.join
    check_ours(store, registry, feed.name, join.shards)
    restored = restore(store, registry, feed.name, join)
    for shard, position in restored.items():
        say(
            f"the store has lost shard {shard}: rebuilt from {number(position):,} committed samples, "
            "and the log is joined again from its start"
        )
    return begin(feed, settings, store, say, {topics.requests: topics.partitions}, restored, [doubt] if doubt else [])
