"""The adapters and the joiner on real brokers and stores."""

import itertools
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import pytest
from kafka import KafkaAdminClient
from kafka.admin import ConfigResource
from redis import Redis

from streams.errors import BrokerUnreachable, ConfigError, HistoryChanged, StoreRefused, StoreUnreachable
from streams.kafka import Polled, Sink, Source, Tp, ensure_topics
from streams.step import Move, Rules, ShardState, Step, asked, told
from streams.store import Store
from tests.conftest import Running

NUMBER = itertools.count()
T = 1_360_000_000_000  # event times of the past
HOUR_MS = 3_600_000


def fresh() -> str:
    return f"feed{next(NUMBER)}"


def topics(broker: Running, feed: str, partitions: int = 1) -> list[Tp]:
    """Make a feed's topics; give the partitions of predictions and outcomes."""
    ensure_topics(broker.address, {f"{feed}-p": partitions, f"{feed}-o": partitions, f"{feed}-d": 1})
    return [Tp(f"{feed}-{kind}", n) for kind in "po" for n in range(partitions)]


def drain(source: Source, records: int) -> list[Polled]:
    """Poll until so many records have come."""
    found: list[Polled] = []
    deadline = time.monotonic() + 30  # for a broker that never answers
    while sum(len(p.records) for p in found) < records:
        assert time.monotonic() < deadline, f"{records} records did not come: {found}"
        found += source.poll(100, 1_000)
    return found


def write(sink: Sink, tp: Tp, count: int, first: int = 0) -> None:
    for n in range(first, first + count):
        sink.send(tp, key=b"k%d" % n, value=b"v%d" % n, t_ms=T + n)
    sink.flush()


class TestKafka:
    def test_records_come_back_with_positions_and_event_times(self, broker: Running) -> None:
        tps = topics(broker, fresh())
        with closing(Sink(broker.address)) as sink, closing(Source(broker.address, tps)) as source:
            before_ms = int(time.time() * 1_000)
            sink.send(tps[0], key=b"a", value=b"1", t_ms=T, headers=[("more", b"x")])
            sink.send(tps[0], key=None, value=b"2", t_ms=T + 1)
            assert sink.flush() == {tps[0]: 2}
            write(sink, tps[1], 3)
            found = {p.tp: p for p in drain(source, 5)}
            assert [(p.start, p.end, p.rejected) for p in found.values()] == [(0, 2, []), (0, 3, [])]
            a, b = found[tps[0]].records
            assert (a.key, a.value, a.t_ms, dict(a.headers)["more"]) == (b"a", b"1", T, b"x")
            assert (b.key, b.value, b.t_ms) == (None, b"2", T + 1)
            assert before_ms <= a.timestamp_ms <= time.time() * 1_000
            assert (source.starts()[tps[1]], source.ends()[tps[1]], source.position(tps[1])) == (0, 3, 3)

    def test_a_source_seeks_pauses_and_knows_its_end(self, broker: Running) -> None:
        tps = topics(broker, fresh())
        with closing(Sink(broker.address)) as sink, closing(Source(broker.address, tps)) as source:
            write(sink, tps[0], 5)
            write(sink, tps[1], 5)
            source.seek(tps[0], 3)
            source.pause([tps[1]])
            assert [(p.tp, p.start, p.end) for p in drain(source, 2)] == [(tps[0], 3, 5)]
            assert source.at_end(tps[0])
            assert not source.at_end(tps[1])
            source.resume([tps[1]])
            assert [r.offset for p in drain(source, 5) for r in p.records] == [0, 1, 2, 3, 4]
            assert source.read(tps[0], 4) == drain_one(source, tps[0], 4)
            assert source.read(tps[0], 5) is None

    def test_offsets_are_committed_for_a_group_without_joining_it(self, broker: Running) -> None:
        feed = fresh()
        tps = topics(broker, feed)
        with closing(Sink(broker.address)) as sink, closing(Source(broker.address, tps, group=feed)) as source:
            write(sink, tps[0], 4)
            assert source.committed() == {}
            drain(source, 4)
            source.commit({tps[0]: 4})
            deadline = time.monotonic() + 10
            while source.committed() != {tps[0]: 4}:
                assert time.monotonic() < deadline

    def test_topics_are_made_once_and_another_count_is_refused(self, broker: Running) -> None:
        feed = fresh()
        topics(broker, feed, 2)
        topics(broker, feed, 2)
        with pytest.raises(ConfigError, match=f"'{feed}-p' has 2 partitions, but 3"):
            ensure_topics(broker.address, {f"{feed}-p": 3})

    def test_a_refused_record_is_told_and_does_not_spoil_the_next(self, broker: Running) -> None:
        tps = topics(broker, fresh())
        with closing(Sink(broker.address)) as sink:
            with pytest.raises(BrokerUnreachable, match="larger"):
                sink.send(tps[0], key=None, value=bytes(1 << 21), t_ms=T)
            write(sink, tps[0], 1)

    def test_the_broker_s_refusal_is_told_and_does_not_spoil_the_next(self, broker: Running) -> None:
        if broker.kind == "embedded":
            pytest.skip("it refuses no record")
        (compacted, *_) = topics(broker, fresh())
        with closing(KafkaAdminClient(bootstrap_servers=broker.address)) as admin:
            admin.alter_configs([ConfigResource("topic", compacted.topic, {"cleanup.policy": "compact"})])
        with closing(Sink(broker.address)) as sink:
            sink.send(compacted, key=None, value=b"a compacted topic needs keys", t_ms=T)
            with pytest.raises(BrokerUnreachable):
                sink.flush()
            write(sink, compacted, 1)

    def test_nobody_there_is_said_with_the_address(self) -> None:
        makes = (Sink, lambda at: Source(at, []), lambda at: ensure_topics(at, {"a": 1}))
        with ThreadPoolExecutor() as pool:
            for made in [pool.submit(make, "127.0.0.1:1") for make in makes]:
                with pytest.raises(BrokerUnreachable, match=r"127\.0\.0\.1:1"):
                    made.result()


def drain_one(source: Source, tp: Tp, offset: int) -> object:
    source.seek(tp, offset)
    return drain(source, 1)[0].records[0]


@pytest.fixture
def store(store_server: Running) -> Iterator[Store]:
    with closing(Store(store_server.address)) as made:
        yield made


def move(store: Store, feed: str, count: int, token: str) -> ShardState:
    """Join so many pairs in one step."""
    state = store.shard(feed, 0)
    step = Step(token, Rules(HOUR_MS, HOUR_MS, 0, HOUR_MS))
    for tp, at in sorted(state.positions.items(), reverse=True):
        step.moves.append(Move(tp, at.next, at.next + count, records=count, t=T, outcomes=int(tp == "o:0")))
        for n in range(at.next, at.next + count):
            step.which.append(len(step.moves))
            step.ids.append(f"id:{n}")
            step.times.append(T)
            text = told(f"id:{n}", T, f'"{tp} {n}"', 2 * HOUR_MS) if tp == "o:0" else asked(f"id:{n}", T, "{}", HOUR_MS)
            step.items.append(text[0])
            step.bodies.append(text[1])
    return store.step(feed, 0, step)


class TestStore:
    TPS = (Tp("p", 0), Tp("o", 0))

    def test_samples_are_read_from_a_position_that_must_be_there(self, store: Store) -> None:
        feed = fresh()
        store.create(feed, 1, self.TPS)
        assert store.read(feed, 0, "0-0", 10) == []
        state = move(store, feed, 5, "a")
        rows = store.read(feed, 0, "0-0", 3)
        assert [entry.split("-")[0] for entry, _ in rows] == ["1", "2", "3"]
        assert rows[2][1] == (
            b'{"kind":"joined","revision":0,"label":"o:0 2","label_t":%d,"id":"id:2","t":%d,"prediction":{}}' % (T, T)
        )
        rest = store.read(feed, 0, rows[2][0], 10)
        assert [entry.split("-")[0] for entry, _ in rest] == ["4", "5"]
        assert rest[-1][0] == state.last_id
        assert store.read(feed, 0, state.last_id, 10) == []
        with pytest.raises(HistoryChanged):
            store.read(feed, 0, "3-1", 10)

    def test_a_trim_keeps_the_entry_it_names(self, store: Store) -> None:
        feed = fresh()
        store.create(feed, 1, self.TPS)
        assert move(store, feed, 5, "a").unread == 5
        rows = store.read(feed, 0, "0-0", 10)
        store.trim(feed, 0, rows[2][0])
        assert store.read(feed, 0, rows[2][0], 10) == rows[3:]
        assert store.shard(feed, 0).unread == 2
        for gone in (rows[1][0], "0-0"):
            with pytest.raises(HistoryChanged):
                store.read(feed, 0, gone, 10)

    def test_waiting_ends_with_the_next_sample(self, store: Store) -> None:
        feed = fresh()
        store.create(feed, 1, self.TPS)
        last = move(store, feed, 1, "a").last_id
        store.wait(feed, {0: last}, 20)  # nothing comes: it returns all the same
        with ThreadPoolExecutor(1) as pool:
            woken = pool.submit(store.wait, feed, {0: last}, 5_000)
            move(store, feed, 1, "b")
            woken.result(timeout=4)

    def test_a_feed_is_created_once_and_another_shape_is_refused(self, store: Store) -> None:
        feed = fresh()
        store.create(feed, 2, self.TPS, {self.TPS[0]: 7})
        move(store, feed, 3, "a")
        store.create(feed, 2, self.TPS)
        at = store.shard(feed, 0).positions["p:0"]
        assert (at.start, at.next) == (7, 10)
        for shards, tps in ((1, self.TPS), (2, self.TPS[:1])):
            with pytest.raises(StoreRefused, match=feed):
                store.create(feed, shards, tps)

    def test_the_board_keeps_bytes(self, store: Store) -> None:
        feed = fresh()
        store.put(feed, {"a": b"1", "b": bytes(range(256))})
        assert store.get(feed, "a", "none", "b") == [b"1", None, bytes(range(256))]

    def test_a_store_that_may_evict_is_refused(self, store: Store, store_server: Running) -> None:
        store.check()
        with closing(Redis.from_url(store_server.address)) as client:
            client.config_set("maxmemory-policy", "allkeys-lru")
            try:
                with pytest.raises(StoreRefused, match="allkeys-lru"):
                    store.check()
            finally:
                client.config_set("maxmemory-policy", "noeviction")

    def test_nobody_there_is_said_with_the_address(self) -> None:
        with pytest.raises(StoreUnreachable, match=r"127\.0\.0\.1:1"):
            Store("redis://127.0.0.1:1/0").check()
