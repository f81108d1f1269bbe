"""The store's adapter on real stores; the broker's is in `tests/contract/`."""

import itertools
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import pytest
from redis import Redis

from streams.errors import HistoryChanged, StoreRefused, StoreUnreachable
from streams.join.step import RECENT, Move, Rules, ShardState, Step, outcome_entry, prediction_entry
from streams.join.store import Store
from streams.kafka import Tp
from tests.conftest import Running

NUMBER = itertools.count()
T = 1_360_000_000_000  # event times of the past
HOUR_MS = 3_600_000
HANG_MS = 300_000


def fresh() -> str:
    return f"feed{next(NUMBER)}"


@pytest.fixture
def store(store_server: Running) -> Iterator[Store]:
    with closing(Store(store_server.address)) as made:
        yield made


def move(store: Store, feed: str, count: int, token: str) -> ShardState:
    """Join so many pairs in one step."""
    state = store.shard(feed, 0)
    step = Step(token, Rules(HOUR_MS, HOUR_MS, 0, HOUR_MS))
    for tp, at in sorted(state.partitions.items(), reverse=True):
        step.moves.append(
            Move(tp, at.next, at.next + count, records=count, t_ms=T, outcomes=int(tp == "o:0"), recent=[T] * RECENT)
        )
        for n in range(at.next, at.next + count):
            step.which.append(len(step.moves))
            step.ids.append(f"id:{n}")
            step.times.append(T)
            text = (
                outcome_entry(f"id:{n}", T, f'"{tp} {n}"', 2 * HOUR_MS)
                if tp == "o:0"
                else prediction_entry(f"id:{n}", T, "{}", HOUR_MS)
            )
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
        assert [entry.split("-")[0] for entry, *_ in rows] == ["1", "2", "3"]
        assert rows[2][1] == (
            b'{"kind":"joined","revision":0,"label":"o:0 2","label_t":%d,"id":"id:2","t":%d,"prediction":{}}' % (T, T)
        )
        rest = store.read(feed, 0, rows[2][0], 10)
        assert [entry.split("-")[0] for entry, *_ in rest] == ["4", "5"]
        assert rest[-1][0] == state.last_id
        assert store.read(feed, 0, state.last_id, 10) == []
        with pytest.raises(HistoryChanged):
            store.read(feed, 0, "3-1", 10)

    def test_a_trim_keeps_the_sample_it_names_and_what_shares_its_entry(self, store: Store) -> None:
        feed = fresh()
        store.create(feed, 1, self.TPS)
        assert move(store, feed, 40, "a").unread == 40
        rows = store.read(feed, 0, "0-0", 99)
        store.trim(feed, 0, rows[29][0])
        assert store.read(feed, 0, rows[29][0], 99) == rows[30:]
        assert store.shard(feed, 0).unread == 10
        store.trim(feed, 0, rows[20][0])  # of one who lags: what was trimmed stays so
        assert store.shard(feed, 0).unread == 10
        for gone in (rows[15][0], "0-0"):
            with pytest.raises(HistoryChanged):
                store.read(feed, 0, gone, 99)

    def test_many_small_entries_are_read_to_the_count(self, store: Store) -> None:
        feed = fresh()
        store.create(feed, 1, self.TPS)
        for n in range(80):
            move(store, feed, 1, f"t{n}")
        rows = store.read(feed, 0, "0-0", 70)
        assert [int(at.partition("-")[0]) for at, *_ in rows] == list(range(1, 71))
        assert len(store.read(feed, 0, rows[-1][0], 70)) == 10

    def test_waiting_ends_with_the_next_sample(self, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
        feed = fresh()
        store.create(feed, 1, self.TPS)
        last = move(store, feed, 1, "a").last_id
        store.wait(feed, {0: last}, 20)  # nothing comes: it returns all the same
        monkeypatch.setattr("streams.redis.client.BLOCK_MS", HANG_MS)
        with ThreadPoolExecutor(1) as pool:
            woken = pool.submit(store.wait, feed, {0: last}, HANG_MS)
            move(store, feed, 1, "b")
            woken.result()  # one that is not woken runs into the socket's time limit again and again, which is an error

    def test_a_feed_is_created_once_and_another_shape_is_refused(self, store: Store) -> None:
        feed = fresh()
        store.create(feed, 2, self.TPS, {self.TPS[0]: 7})
        move(store, feed, 3, "a")
        store.create(feed, 2, self.TPS)
        at = store.shard(feed, 0).partitions["p:0"]
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
