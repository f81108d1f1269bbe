"""What can happen to a log that is joined: a damaged batch, retention, a topic created again, outcomes that stop."""

import re
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from kafka import KafkaAdminClient, TopicPartition

from deploy.operate.join import actions as operate
from streams.audit.equations import audit
from streams.errors import LogReplaced, LostRange, PositionError
from streams.join.store import Store
from streams.kafka import Source, Tp, ensure_topics
from tests.faults.parts.brokers import Lasting
from tests.faults.parts.verdict import audited, samples, verdict
from tests.faults.world import NAME, PARTITIONS, SHARDS, TOPICS, World
from tests.services.kafka import command
from tests.services.redis import until

WAIT_S = 300.0  # against a hang alone
TRANSACTIONAL = 1 << 4  # in a batch's attributes: it may have been aborted


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    """A join on Apache Kafka under load."""
    command()
    with World(tmp_path, 4, kafka=True, emit="at_close", stream_bound=100_000) as made:
        made.run(1.0)
        yield made


def wait(world: World, holds: Callable[[], object]) -> None:
    deadline = time.monotonic() + WAIT_S
    while not holds():
        assert time.monotonic() < deadline
        world.run(0.1)


def wait_for_records(world: World, tp: Tp, count: int) -> None:
    """Wait until the load has published so many records after every shard's next offset; the join is not running."""
    end = max(at.next for at in positions(world, tp)) + count
    with closing(Source(world.broker.address, [tp])) as source:
        until(lambda: source.ends()[tp] >= end)


def positions(world: World, tp: Tp) -> list[Any]:
    """Return each shard's next offset in a partition."""
    with closing(Store(world.store.direct)) as store:
        return [store.shard(NAME, shard).partitions[f"{tp.topic}:{tp.partition}"] for shard in range(SHARDS)]


def ended(world: World, kind: type[PositionError]) -> str:
    """Let the join run until it ends with an error of that kind, as it must; return the error's text."""
    with pytest.raises(kind) as raised:
        world.run(WAIT_S)
    world.leave()
    return str(raised.value)


def counted(world: World, counter: str) -> int:
    with closing(Store(world.store.direct)) as store:
        return sum(store.shard(NAME, shard).counters[counter] for shard in range(SHARDS))


def balanced(world: World) -> bool:
    with closing(Store(world.store.direct)) as store:
        return audit([store.shard(NAME, shard) for shard in range(SHARDS)]).holds


def test_a_flipped_byte_is_a_rejected_range_and_the_rest_is_joined(world: World) -> None:
    assert isinstance(world.broker, Lasting)
    tp = Tp(TOPICS[0], 0)
    wait(world, lambda: positions(world, tp)[0].next > 200)
    world.leave()
    wait_for_records(world, tp, 150)
    flip(world.broker.segments(*tp), max(at.next for at in positions(world, tp)))
    world.enter(back=False)
    world.end()
    rejected = audited(world)
    seen, written = samples(world)
    missing = world.load.expected().keys() - written.keys()
    assert 0 < len(missing) < rejected
    assert max(seen.values()) == 1


def flip(segments: list[Path], after: int) -> None:
    """Damage the first batch after an offset: one byte of its records, so that its checksum is wrong."""
    for segment in segments:
        data, at = segment.read_bytes(), 0
        while at + 61 < len(data):
            offset, size = int.from_bytes(data[at : at + 8], "big"), 12 + int.from_bytes(data[at + 8 : at + 12], "big")
            if offset > after and at + size <= len(data) and not data[at + 22] & TRANSACTIONAL:
                with segment.open("r+b") as file:
                    file.seek(at + size - 3)
                    file.write(bytes([data[at + size - 3] ^ 0x10]))
                return
            at += size
    raise AssertionError("there is no batch to damage")


def test_what_retention_takes_unread_is_accepted_by_hand_and_counted(world: World) -> None:
    tp = Tp(TOPICS[0], 1)
    wait(world, lambda: positions(world, tp)[0].next > 200)
    world.leave()
    wait_for_records(world, tp, 300)
    before = max(at.next for at in positions(world, tp)) + 150
    with closing(KafkaAdminClient(bootstrap_servers=world.broker.address)) as admin:
        admin.delete_records({TopicPartition(*tp): before})
    world.enter(back=False)
    assert f"the log starts at {before}" in ended(world, LostRange)
    said: list[str] = []
    partition = f"{tp.topic}:{tp.partition}"
    operate.accept_loss(world.path, world.settings, partition, why="a test", ask=lambda _: True, say=said.append)
    world.enter(back=False)
    world.end()
    audited(world)
    lost = sum(at.lost for at in positions(world, tp))
    assert lost >= 150
    assert f"{lost:,} counted as lost" in said[0]
    seen, written = samples(world)
    missing = world.load.expected().keys() - written.keys()
    assert 0 < len(missing) <= lost
    assert max(seen.values()) == 1


def test_a_topic_made_anew_under_load_stops_the_feed(world: World) -> None:
    wait(world, lambda: positions(world, Tp(TOPICS[1], 0))[0].next > 200)
    with closing(KafkaAdminClient(bootstrap_servers=world.broker.address)) as admin:
        admin.delete_topics([TOPICS[1]])
    ensure_topics(world.broker.address, {TOPICS[1]: PARTITIONS})  # the load fills it again
    said = ended(world, LogReplaced)
    assert TOPICS[1] in said
    assert re.search(r"holds another record|the log ends|but it ends at|was deleted and created again", said)
    before = samples(world)
    with pytest.raises(LogReplaced, match=TOPICS[1]):
        world.enter(back=False)  # at the start already, and as long as nobody looks
    assert balanced(world)
    after = samples(world)
    assert max(after[0].values()) == 1
    assert before[0].keys() <= after[0].keys()
    expected = world.load.expected()
    assert all(label in (expected.get(key), world.policy.negative_label) for key, (_, label) in after[1].items())


def test_outcomes_that_stop_for_longer_than_idle_correct_their_negatives(tmp_path: Path) -> None:
    with World(tmp_path, 6, idle_s=0.5, emit="at_close") as world:
        wait(world, lambda: counted(world, "joined") > 500)
        before = counted(world, "negative")
        world.load.quiet.set()
        wait(world, lambda: counted(world, "negative") > before + 3_000)
        world.load.quiet.clear()
        world.end()
        verdict(world)
        assert counted(world, "corrected") > 500
