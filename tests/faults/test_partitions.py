"""Partitions added to a running feed under load, twice, with two joiners: nothing lost, nothing doubled.

Producers write to a partition the moment that it is there, and an id's events may be in any. Event time runs hundreds
of times as fast as the clock, so the seconds until a partition is noticed are half an hour of it: `SLACK_S` is more.
The embedded broker cannot add partitions.
"""

import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import msgspec
import pytest
from kafka import KafkaAdminClient

from deploy.operate.join import actions as operate
from deploy.operate.join.audit import inspect
from streams.audit.verify import Verdict
from streams.errors import Unreachable
from streams.join.store import Store
from streams.kafka import Source, Tp
from tests.conftest import command
from tests.faults.parts.verdict import verdict
from tests.faults.world import SHARDS, TOPICS, WAIT_S, World
from tests.services.redis import until as wait_for

SLACK_S = 3_600.0


@pytest.fixture
def world(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[World]:
    command("SHADOWSTREAM_TEST_KAFKA_CMD", "external")
    with World(tmp_path, 3, kafka=True, redis="redis", slack_s=getattr(request, "param", SLACK_S)) as made:
        yield made


def added(world: World, predictions: int, outcomes: int) -> None:
    """Add partitions, and publish to them at once."""
    with closing(KafkaAdminClient(bootstrap_servers=world.broker.address)) as admin:
        both = zip(TOPICS, world.load.partitions, (predictions, outcomes), strict=True)
        admin.create_partitions({topic: count for topic, have, count in both if count > have})
    world.load.partitions = [predictions, outcomes]


def until(world: World, holds: Callable[[Store], bool]) -> None:
    """Let the join run until something holds; wait while the store does not answer."""
    deadline = time.monotonic() + WAIT_S
    with closing(Store(world.store.direct)) as store:
        while True:
            world.run(0.2)
            assert time.monotonic() < deadline
            try:
                if holds(store):
                    return
            except Unreachable:
                pass


def filled(world: World) -> bool:
    """Return whether every partition has records."""
    tps = [Tp(topic, n) for topic, count in zip(TOPICS, world.load.partitions, strict=True) for n in range(count)]
    with closing(Source(world.broker.address, tps)) as source:
        return all(source.ends().values())


def read(world: World, store: Store) -> bool:
    """Return whether every shard has read records of every partition."""
    tps = [f"{topic}:{n}" for topic, count in zip(TOPICS, world.load.partitions, strict=True) for n in range(count)]
    states = [store.shard("chaos", shard) for shard in range(SHARDS)]
    return all(tp in state.partitions and state.partitions[tp].next > 0 for tp in tps for state in states)


def test_partitions_added_twice_under_load_lose_and_double_nothing(world: World) -> None:
    until(world, lambda _: len(world.load.predictions) > 2_000)
    added(world, predictions=2, outcomes=5)
    until(world, lambda store: read(world, store))
    os.kill(world.workers[0].pid, signal.SIGKILL)
    added(world, predictions=4, outcomes=6)
    until(world, lambda store: read(world, store))
    assert sorted(len(worker.work.tps) for worker in world.workers[:-1]) == [5, 5]
    world.end()
    assert verdict(world)["predictions"] > 1_000
    assert sum(verified(world).explained.values()) <= len(world.load.ancient)


@pytest.mark.parametrize("world", [0.0], indirect=True)
def test_without_slack_what_comes_too_late_is_explained(world: World) -> None:
    until(world, lambda _: len(world.load.predictions) > 2_000)
    added(world, predictions=4, outcomes=4)
    until(world, lambda store: read(world, store))
    world.end()
    assert set(verified(world).explained) <= {"added", "order", "overtaken"}


def test_a_store_that_has_forgotten_them_gets_them_again(world: World) -> None:
    """Like a store that went back to before they were added, but what came of them is kept: it is then a duplicate."""
    until(world, lambda _: len(world.load.predictions) > 2_000)
    added(world, predictions=3, outcomes=3)
    until(world, lambda store: read(world, store))
    for shard in range(SHARDS):
        world.store.servers[0].redis.hdel(f"{{chaos.{shard}}}:m", *(f"tp:{topic}:2" for topic in TOPICS))
    until(world, lambda store: read(world, store))
    world.end()
    verdict(world)


def test_the_end_of_the_feed_does_not_leave_out_a_partition_just_added(world: World) -> None:
    until(world, lambda _: len(world.load.predictions) > 2_000)
    added(world, predictions=3, outcomes=4)
    wait_for(lambda: filled(world))
    world.load.stop()
    settings = msgspec.structs.replace(world.settings, redis=world.store.direct)
    operate.end_feed(world.folder / "feed.py", settings, why="a test", ask=lambda _: True)
    world.end()
    assert verdict(world)["predictions"] > 200
    assert sum(verified(world).explained.values()) <= len(world.load.ancient)


def test_a_join_started_with_more_partitions_goes_on_with_them(world: World) -> None:
    until(world, lambda _: len(world.load.predictions) > 2_000)
    world.leave()
    added(world, predictions=5, outcomes=2)
    wait_for(lambda: filled(world))
    world.enter(back=False)
    until(world, lambda store: read(world, store))
    world.end()
    verdict(world)
    assert sum(verified(world).explained.values()) <= len(world.load.ancient)


def verified(world: World) -> Verdict:
    """Join the log again in plain Python, and compare."""
    settings = msgspec.structs.replace(world.settings, redis=world.store.direct)
    report = inspect(world.folder / "feed.py", settings, compare=True)
    report.check()
    assert report.verdict is not None
    return report.verdict
