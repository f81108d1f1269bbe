"""What every store must do, alone or as a cluster, also when it fails. `stores.CANNOT` lists the exceptions."""

import itertools
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from streams.errors import HistoryChanged, StoreFull, StoreRefused, StoreUnreachable
from streams.join.step import ShardState, Step
from streams.join.store import Store
from tests.contract.stores import TPS, Stage, join, look, numbers, pairs
from tests.services.redis import Cluster, identity, slot, until

HANG_S = 300.0


def insist(store: Store, feed: str, shard: int, step: Step) -> None:
    """Send a step until the store answers it, as a joiner does."""

    def sent() -> bool:
        try:
            store.step(feed, shard, step)
        except StoreUnreachable:
            return False
        return True

    until(sent)


@contextmanager
def joining(store: Store, feed: str) -> Iterator[list[ShardState]]:
    """Join five pairs a step in shard 0, over and over, each step sent twice; yield a list for the last state."""
    states: list[ShardState] = []
    over = threading.Event()

    def run() -> int:
        state, steps = store.shard(feed, 0), 0
        while not over.is_set():
            step = pairs(state, 5)
            insist(store, feed, 0, step)
            insist(store, feed, 0, step)
            until(lambda: answers(store, feed))
            state, steps = store.shard(feed, 0), steps + 1
        return steps

    with ThreadPoolExecutor(1) as pool:
        steps = pool.submit(run)
        try:
            yield states
        finally:
            over.set()
        assert steps.result(HANG_S) > 0
        states.append(look(store, feed, 0))
        assert (states[0].seq, numbers(store, feed, 0)) == (steps.result() * 5, [*range(1, steps.result() * 5 + 1)])


def answers(store: Store, feed: str) -> bool:
    try:
        store.shard(feed, 0)
    except StoreUnreachable:
        return False
    return True


def test_create_is_idempotent_and_refuses_other_shapes(stage: Stage) -> None:
    feed = stage.feed(2)
    state = join(stage.store, feed, 1, 3)
    stage.store.check()
    stage.store.create(feed, 2, TPS)
    assert look(stage.store, feed, 1) == state
    for shards, tps in ((3, TPS), (2, TPS[:1])):
        with pytest.raises(StoreRefused, match="exists with"):
            stage.store.create(feed, shards, tps)


def test_a_step_sent_twice_changes_the_state_once(stage: Stage) -> None:
    feed = stage.feed()
    step = pairs(stage.store.shard(feed, 0), 4)
    stage.store.step(feed, 0, step)
    state = look(stage.store, feed, 0)
    stage.store.step(feed, 0, step)
    assert look(stage.store, feed, 0) == state
    assert (state.seq, state.counters["joined"]) == (4, 4)


def test_shards_on_several_nodes_are_read_waited_for_and_trimmed(stage: Stage) -> None:
    feed = stage.feed(3)
    for shard in range(3):
        for _ in range(shard + 1):
            join(stage.store, feed, shard, 1)
    assert [numbers(stage.store, feed, shard) for shard in range(3)] == [[1], [1, 2], [1, 2, 3]]
    rows = stage.store.read(feed, 2, "0-0", 9)
    stage.store.trim(feed, 2, rows[1][0])
    assert stage.store.read(feed, 2, rows[1][0], 9) == rows[2:]
    with pytest.raises(HistoryChanged):
        stage.store.read(feed, 2, "0-0", 9)
    last = {shard: stage.store.shard(feed, shard).last_id for shard in range(3)}
    assert stage.store.shard(feed, 2).unread == 1
    with ThreadPoolExecutor(1) as pool:
        for shard in range(3):  # whichever has it wakes us
            waiting = pool.submit(stage.store.wait, feed, last, 5_000)
            last[shard] = join(stage.store, feed, shard, 1).last_id
            waiting.result(HANG_S)


def test_waiting_in_vain_does_not_spin(stage: Stage) -> None:
    feed = stage.feed(3)
    before = calls(stage)
    stage.store.wait(feed, dict.fromkeys(range(3), "0-0"), 500)
    assert 1 <= calls(stage) - before <= 4 * 12  # three looks and a slice of 50 ms, ten times


def calls(stage: Stage) -> int:
    stats = [node.redis.info("commandstats").get("cmdstat_xread", {"calls": 0}) for node in stage.place.nodes]
    return sum(stat["calls"] for stat in stats)


def test_the_board_notes_and_what_waits(stage: Stage) -> None:
    feed = stage.feed()
    stage.store.put(feed, {"a": b"1", "b": b"\x00"})
    assert stage.store.get(feed, "b", "c", "a") == [b"\x00", None, b"1"]
    step = pairs(stage.store.shard(feed, 0), 2)
    step.which, step.times = step.which[:2], step.times[:2]
    step.ids, step.items, step.bodies = step.ids[:2], step.items[:2], step.bodies[:2]
    stage.store.step(feed, 0, step)  # predictions alone
    assert [waiting.id for waiting in stage.store.waiting(feed, 0, 9)] == ["id:0", "id:1"]
    stage.store.close_feed(feed, 0, "enough")
    assert stage.store.notes(feed, 0) == ["enough"]
    assert stage.store.shard(feed, 0).ending


def test_a_script_that_the_nodes_forgot_is_sent_again(stage: Stage) -> None:
    feed = stage.feed(2)
    for node in stage.place.nodes:
        node.redis.script_flush()
    assert [join(stage.store, feed, shard, 1).seq for shard in range(2)] == [1, 1]


def test_where_nothing_answers_it_is_said(stage: Stage) -> None:
    at = replace(stage.place.address, url="redis://127.0.0.1:1")
    with pytest.raises(StoreUnreachable, match=r"redis://127\.0\.0\.1:1: "), closing(Store(at)) as store:
        store.check()


def test_one_node_that_may_evict_is_refused(stage: Stage) -> None:
    node = stage.place.nodes[-1]
    node.redis.config_set("maxmemory-policy", "allkeys-lru")
    with pytest.raises(StoreRefused, match=rf"{node.port}.*allkeys-lru; it must be noeviction"):
        stage.store.check()
    node.redis.config_set("maxmemory-policy", "noeviction")
    stage.store.check()


def test_out_of_memory_says_so_writes_nothing_and_goes_on(stage: Stage) -> None:
    feed = stage.feed()
    state = join(stage.store, feed, 0, 3)
    step = pairs(state, 3)
    redis = stage.place.node_of(feed, 0).redis
    content = everything(redis, feed)
    redis.config_set("maxmemory", 1)
    with pytest.raises(StoreFull, match=r"full, nothing was written; raise its maxmemory"):
        stage.store.step(feed, 0, step)
    assert everything(redis, feed) == content
    assert look(stage.store, feed, 0) == state
    stage.store.trim(feed, 0, state.last_id)  # what makes room is taken
    assert stage.store.shard(feed, 0).unread == 0
    redis.config_set("maxmemory", 0)
    assert stage.store.step(feed, 0, step).seq == 6


def test_out_of_memory_takes_no_feed_from_its_run_and_no_note_from_its_board(stage: Stage) -> None:
    feed = stage.feed()
    assert not stage.store.check()
    for node in stage.place.nodes:
        node.redis.config_set("maxmemory", 1)
    for _ in range(2):
        assert stage.store.claim(feed, "ours", b"note", 60_000) is None
    rival = stage.store.claim(feed, "theirs", b"another", 60_000)
    assert rival is not None
    assert rival.note == b"note"
    stage.store.put(feed, {"a": b"1", "b": b"2"})
    assert stage.store.get(feed, "a", "b", "c") == [b"1", b"2", None]
    stage.store.leave(feed, "ours")
    assert stage.store.claim(feed, "theirs", b"another", 60_000) is None
    said = stage.store.check()
    assert len(said) == len(stage.place.nodes)
    assert all("is full (" in one and "raise its maxmemory" in one for one in said)
    for node in stage.place.nodes:
        node.redis.config_set("maxmemory", 0)


def everything(redis: Any, feed: str) -> dict[bytes, object]:
    return {key: redis.dump(key) for key in redis.keys(f"{{{feed}.0}}:*")}


def test_a_flushed_store_is_seen(stage: Stage) -> None:
    feed = stage.feed(2)
    last = join(stage.store, feed, 0, 3).last_id
    step = pairs(stage.store.shard(feed, 0), 1)
    for node in stage.place.nodes:
        node.redis.flushall()
    with pytest.raises(StoreRefused, match="MISSING there is no such shard"):
        stage.store.step(feed, 0, step)
    with pytest.raises(StoreRefused, match="MISSING there is no such shard"):
        stage.store.shard(feed, 1)
    with pytest.raises(HistoryChanged):
        stage.store.read(feed, 0, last, 9)


def test_nothing_acknowledged_is_lost_in_a_crash(stage: Stage) -> None:
    feed = stage.feed(2)
    states = [join(stage.store, feed, shard, 100) for shard in range(2)]
    node = stage.place.node_of(feed, 0)
    node.kill()
    with pytest.raises(StoreUnreachable):
        stage.store.step(feed, 0, pairs(states[0], 1))
    node.start()
    insist(stage.store, feed, 0, pairs(states[0], 1))
    assert numbers(stage.store, feed, 0) == [*range(1, 102)]
    until(lambda: look(stage.store, feed, 1) == states[1])


def test_a_node_that_goes_back_in_time_is_seen_by_the_reader(stage: Stage) -> None:
    feed = stage.feed(2)
    states = [join(stage.store, feed, shard, 5) for shard in range(2)]
    read: list[str] = []

    def more() -> None:
        read.extend(join(stage.store, feed, shard, 5).last_id for shard in range(2))

    stage.place.node_of(feed, 0).back(more)
    stage.place.ready()
    insist(stage.store, feed, 0, pairs(states[0], 5))  # the same numbers again, with another history
    with pytest.raises(HistoryChanged):
        stage.store.read(feed, 0, read[0], 9)
    assert numbers(stage.store, feed, 0) == [*range(1, 11)]
    if isinstance(stage.place, Cluster):  # the others did not go back
        assert stage.store.read(feed, 1, read[1], 9) == []
        assert look(stage.store, feed, 1).seq == 10


def test_a_slot_that_moves_during_steps_loses_and_doubles_nothing(stage: Stage) -> None:
    cluster = stage.needs("nodes")
    feed = stage.feed()
    source = cluster.node_of(feed, 0)
    target = next(node for node in cluster.nodes if node is not source)
    number = slot(feed, 0)
    with joining(stage.store, feed):
        until(lambda: stage.store.shard(feed, 0).seq >= 20)
        target.run("CLUSTER SETSLOT", number, "IMPORTING", identity(source))
        source.run("CLUSTER SETSLOT", number, "MIGRATING", identity(target))
        for key in source.run("CLUSTER GETKEYSINSLOT", number, 100):
            source.run("MIGRATE", "127.0.0.1", target.port, key, 0, 5_000)
        for node in (target, source, *cluster.nodes):
            node.run("CLUSTER SETSLOT", number, "NODE", identity(target))
        seq = stage.store.shard(feed, 0).seq
        until(lambda: stage.store.shard(feed, 0).seq >= seq + 20)
    assert cluster.node_of(feed, 0) is target


def test_a_replica_takes_over_during_steps(stage: Stage, tmp_path: Path) -> None:
    cluster = stage.needs("nodes")
    feed = stage.feed()
    primary = cluster.node_of(feed, 0)
    replica = cluster.replica(tmp_path / "replica", primary)
    with pytest.raises(StoreRefused, match=r"set redis\.cluster = true"), closing(Store(replica.address)) as alone:
        alone.put(feed, {"a": b"1"})
    with joining(stage.store, feed):
        until(lambda: stage.store.shard(feed, 0).seq >= 20)
        asked = itertools.count()

        def taken_over() -> bool:
            if cluster.node_of(feed, 0) is replica:
                return True
            if next(asked) % 160 == 0:  # 8 s: a manual failover gives up after five
                replica.run("CLUSTER FAILOVER")
            return False

        until(taken_over)
        seq = look(stage.store, feed, 0).seq
        until(lambda: look(stage.store, feed, 0).seq >= seq + 20)
    primary.kill()
    insist(stage.store, feed, 0, pairs(stage.store.shard(feed, 0), 1))
    primary.start()
