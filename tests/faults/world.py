"""A join as a user runs it, under load, with everything around it breakable; and what must hold when it has ended.

Owns the servers, the proxy before the store, the workers and the verdict. The faults themselves are in chaos.py.
"""

import time
from collections import Counter
from contextlib import ExitStack
from pathlib import Path
from random import Random

import pyarrow.parquet as pq
from redis import Redis

from deploy import config
from deploy.crew import Worker
from deploy.embedded import free_port, start_broker, start_store
from deploy.joins import Join
from streams.errors import HistoryChanged, Unreachable
from streams.policy import JoinPolicy
from streams.store import Store
from tests.faults.load import Load
from tests.faults.proxy import Proxy

FEED = """
from msgspec import Struct
from msgspec.json import encode
from streams.events import Event, Json, Record
from deploy.feed import Feed


class Prediction(Struct):
    id: str
    t: int


class Outcome(Struct):
    id: str
    t: int
    label: float


prediction, outcome = Json(Prediction), Json(Outcome)


def read_prediction(record: Record) -> Event:
    p = prediction(record.value)
    return Event(p.id, p.t, record.value)


def read_outcome(record: Record) -> Event:
    o = outcome(record.value)
    return Event(o.id, o.t, encode(o.label))


feed = Feed(name="chaos", prediction=read_prediction, outcome=read_outcome)
"""
PARTITIONS, SHARDS, JOINERS = 2, 2, 2
WAIT_S = 120.0


class World:
    """A context manager. `kafka` and `redis` are commands for external servers, as in tests/conftest.py."""

    def __init__(self, folder: Path, seed: int, kafka: str | None = None, redis: str | None = None) -> None:
        self.folder, self.random = folder, Random(seed)
        self.lasting_broker = kafka is not None  # the embedded one forgets when it ends
        self._kafka, self._redis = kafka, redis
        self._broker_port, self._store_port = free_port(), free_port()
        emit = self.random.choice(["at_once", "at_close"])
        self.policy = JoinPolicy(
            shards=SHARDS,
            joiners=JOINERS,
            emit=emit,  # type: ignore[arg-type]
            absent="negative",
            late="correct",
            window_s=30.0,
            keep_s=10**7,
            idle_s=10**6,  # a broker that is away must not look idle: what is expected would depend on the clock
            align_s=600.0,
            batch_events=500,
            stream_bound=5_000,
        )
        self._stack = ExitStack()

    def __enter__(self) -> "World":
        with ExitStack() as stack:
            self.broker = start_broker(self.folder, self._kafka, self._broker_port)
            stack.callback(lambda: self.broker.stop())
            self.store = start_store(self.folder, self._redis, self._store_port)
            stack.callback(lambda: self.store.stop())
            self.proxy = Proxy(self._store_port)
            stack.callback(self.proxy.close)
            self._path = self.folder / "feed.py"
            self._path.write_text(FEED)
            self.settings = config.Settings(
                kafka=config.Kafka(bootstrap=self.broker.address),
                redis=config.Redis(url=f"redis://127.0.0.1:{self.proxy.port}/0"),
                registry=config.Registry(path=str(self.folder / "registry")),
                topics=config.Topics(partitions=PARTITIONS),
                join=self.policy,
                output=config.Output(
                    to="parquet", path=str(self.folder / "samples"), rows_per_file=500, seconds_per_file=0.5
                ),
            )
            self._enter(back=False)
            stack.callback(lambda: self.join.__exit__(None, None, None))
            seed = self.random.randrange(1 << 30)
            topics = ("chaos.predictions", "chaos.outcomes")
            self.load = Load(self.broker.address, topics, PARTITIONS, self.policy, seed)
            stack.callback(self.load.stop)
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    @property
    def workers(self) -> list[Worker]:
        """The joiners, then the writer."""
        return self.join.crew.workers

    def run(self, seconds: float) -> None:
        """Let it run; what an operator would do, is done: a store that went back has its outputs taken back."""
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            self.check()
            time.sleep(0.1)

    def check(self) -> None:
        """Start again who was killed."""
        try:
            self.join.check()
        except HistoryChanged:
            self.join.__exit__(None, None, None)
            self._enter(back=True)

    def kill_store(self) -> None:
        """SIGKILL."""
        self.store.kill()

    def start_store(self) -> None:
        """Start it again where it was."""
        self.store = start_store(self.folder, self._redis, self._store_port)

    def restart_broker(self) -> None:
        """SIGKILL, and start it again where it was."""
        self.broker.kill()
        self.broker = start_broker(self.folder, self._kafka, self._broker_port)

    def redis(self) -> Redis:
        """Give a client that does not go through the proxy."""
        return Redis(port=self._store_port)

    def end(self) -> None:
        """Stop the load, end the feed, and wait until all is written."""
        self.load.stop()
        store = Store(f"redis://127.0.0.1:{self._store_port}/0")
        for shard in range(SHARDS):
            store.close_feed("chaos", shard)
        store.close()
        deadline = time.monotonic() + WAIT_S
        while True:
            try:
                for _ in self.join.live():
                    assert time.monotonic() < deadline, self.join.look()
                return
            except HistoryChanged:
                self.join.__exit__(None, None, None)
                self._enter(back=True)

    def verdict(self) -> dict[str, int]:
        """Compare what was written with what was published; gives the counts.

        Raises:
            AssertionError: something was lost, doubled or changed, or an equation does not hold.
        """
        written: dict[str, tuple[int, float]] = {}
        seen: Counter[tuple[str, int]] = Counter()
        for file in sorted((self.folder / "samples").glob("shard=*/*.parquet")):
            for row in pq.read_table(file, partitioning=None).to_pylist():
                seen[row["id"], row["revision"]] += 1
                written[row["id"]] = max(written.get(row["id"], (-1, 0.0)), (row["revision"], row["label"]))
        expected = self.load.expected()
        doubled = sum(count - 1 for count in seen.values())
        lost = sum(key not in written for key in expected)
        wrong = sum(written[key][1] != label for key, label in expected.items() if key in written)
        self._equations(seen.total())
        assert (lost, doubled, wrong) == (0, 0, 0), f"lost, doubled, wrong labels: {lost}, {doubled}, {wrong}"
        assert len(written) == len(expected)
        return {"predictions": len(expected), "samples": seen.total(), "lost": lost, "doubled": doubled}

    def _equations(self, written: int) -> None:
        store = Store(f"redis://127.0.0.1:{self._store_port}/0")
        shards = [store.shard("chaos", shard) for shard in range(SHARDS)]
        store.close()
        for s in shards:
            c = s.counters
            assert c["predictions"] == c["opened"] + c["prediction_duplicate"] + c["prediction_too_late"]
            assert c["opened"] == c["joined"] + c["negative"] + c["unlabelled"] + c["waiting"]
            gone = c["late"] + c["orphan"] + c["outcome_duplicate"] + c["outcome_too_late"] + c["capped"]
            assert c["outcomes"] == c["used"] + c["early"] + gone
            assert s.seq == c["joined"] + c["negative"] + c["corrected"]
        assert sum(s.seq for s in shards) == written
        for tp in shards[0].positions:
            at = [s.positions[tp] for s in shards]
            assert len({p.next for p in at}) == 1
            assert at[0].next - at[0].start == sum(p.records + p.rejected + p.holes + p.lost for p in at)

    def _enter(self, *, back: bool) -> None:
        deadline = time.monotonic() + WAIT_S
        while True:
            self.join = Join(self._path, self.settings, lambda _: None, fresh=False)
            try:
                self.join.__enter__()
                self.join.start(back=back)
                return
            except Unreachable:
                self.join.__exit__(None, None, None)
                assert time.monotonic() < deadline
                time.sleep(0.5)
