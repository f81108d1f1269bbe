"""A join as a user runs it, under load, with servers that can be broken; and what must hold when it has ended.

Owns the servers, the workers, and what an operator would do. What can be done to the servers is theirs (stores.py,
brokers.py), the faults are in breaks.py, and the comparison at the end in verdict.py.
"""

import re
import time
from contextlib import ExitStack, closing
from pathlib import Path
from random import Random
from typing import Any

from deploy import config
from deploy.embedded.child import Child
from deploy.processes.worker import Work
from deploy.run.join import joining
from streams.errors import HistoryChanged, StoreRefused, Unreachable
from streams.join.policy import JoinPolicy
from streams.join.store import Store
from tests.faults.parts.brokers import Lasting, Passing
from tests.faults.parts.load import Load
from tests.faults.parts.publish import Publisher
from tests.faults.parts.stores import One, Stores, Three

FEED = """
from msgspec import Struct
from msgspec.json import encode
from streams.events import Event, Record
from streams.readers import Json
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
NAME, TOPICS = "chaos", ("chaos.predictions", "chaos.outcomes")
PARTITIONS, SHARDS, JOINERS = 2, 2, 2
WAIT_S = 300.0  # against a hang alone
LARGE = 400_000  # bytes; on Apache Kafka five times as much, more than a record may have by default


class World:
    """A context manager. `redis` is "valkey", the embedded store, or "redis"; `kafka`: Apache Kafka, not the embedded.

    `malformed` records come while the dead letters' topic takes nothing for `down_s`.
    """

    def __init__(
        self, folder: Path, seed: int, *, kafka: bool = False, redis: str = "valkey", cluster: bool = False,
        malformed: int = 2_000, down_s: float = 2.0, **join: Any,
    ) -> None:  # fmt: skip
        self.folder, self.random, self.path = folder, Random(seed), folder / "feed.py"
        self.malformed, self.down_s = malformed, down_s
        self.excused: set[str] = set()  # what the store may say of a shard, by what was done to it
        self._kafka, self._redis, self._cluster = kafka, redis, cluster
        emit = self.random.choice(["at_once", "at_close"])
        keys: dict[str, Any] = {
            "shards": SHARDS,
            "joiners": JOINERS,
            "emit": emit,
            "absent": "negative",
            "late": "correct",
            "window_s": 30.0,
            "keep_s": 10**7,
            "idle_s": 10**6,  # a broker that is away must not look idle: what is expected would depend on the clock
            "align_s": 600.0,
            "batch_events": 500,
            "stream_bound": 5_000,
        }
        self.policy = JoinPolicy(**keys | join)
        self._stack, self._running = ExitStack(), ExitStack()

    def __enter__(self) -> "World":
        with ExitStack() as stack:
            self.broker = (Lasting if self._kafka else Passing)(self.folder / "kafka")
            stack.callback(self.broker.stop)
            self.store: Stores = (Three if self._cluster else One)(self._redis, self.folder / "stores")
            stack.callback(self.store.stop)
            self.path.write_text(FEED)
            self.settings = config.Settings(
                kafka=config.Kafka(bootstrap=self.broker.joined),
                redis=self.store.address,
                registry=config.Registry(path=str(self.folder / "registry")),
                topics=config.Topics(partitions=PARTITIONS),
                join=self.policy,
                output=config.Output(to="parquet", path=str(self.samples), rows_per_file=500, seconds_per_file=0.5),
            )
            self.enter(back=False)
            stack.callback(self.leave)
            transactional_id = "load" if isinstance(self.broker, Lasting) else None
            self.publisher = Publisher(self.broker.address, self.broker.largest, transactional_id, self.random)
            seed, large = self.random.randrange(1 << 30), LARGE * (5 if self._kafka else 1)
            self.load = Load(self.publisher, TOPICS, PARTITIONS, self.policy, seed, large)
            stack.callback(self.load.stop)
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    @property
    def samples(self) -> Path:
        """The folder of the samples."""
        return self.folder / "samples"

    @property
    def workers(self) -> list[Child[Work]]:
        """The joiners, then the writer."""
        return [worker for worker in self.join.crew.workers if isinstance(worker, Child)]

    def run(self, seconds: float) -> None:
        """Let it run, and do what an operator would: take the outputs back after a store went back."""
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            self.check()
            time.sleep(0.1)

    def check(self) -> None:
        """Start again the workers that were killed."""
        try:
            self.join.check()
        except (HistoryChanged, StoreRefused) as wrong:
            self._again(wrong)

    def end(self) -> None:
        """Stop the load, end the feed, and wait until all is written."""
        self.load.stop()
        self.run(1.0)  # a store that was flushed a moment ago has its feed again
        deadline = time.monotonic() + WAIT_S
        while True:
            try:
                self._close()
                for _ in self.join.live():
                    assert time.monotonic() < deadline, self.join.look()
                return
            except (HistoryChanged, StoreRefused) as wrong:
                self._again(wrong)

    def leave(self) -> None:
        """End the join, as Ctrl-C does."""
        self._running.close()

    def enter(self, *, back: bool) -> None:
        """Start the join (`back`: with --rewind), as soon as broker and store answer."""
        deadline = time.monotonic() + WAIT_S
        while True:
            try:
                run = joining(self.path, self.settings, lambda _: None, fresh=False, back=back)
                self.join = self._running.enter_context(run)
                return
            except Unreachable:
                assert time.monotonic() < deadline
                time.sleep(0.5)
            except HistoryChanged as wrong:  # a shard came back that had been begun anew: another history
                shard = re.search(r"shard=(\d) holds no file", str(wrong))
                if not shard or not self.excused:
                    raise
                self.store.drop(NAME, int(shard[1]))

    def _close(self) -> None:
        with closing(Store(self.store.direct)) as store:
            for shard in range(SHARDS):
                store.close_feed(NAME, shard)

    def _again(self, wrong: HistoryChanged | StoreRefused) -> None:
        """Begin again from the store's state; a shard that is gone is a failure, unless a fault of this run deleted it.

        A node that goes back to amid a slot's migration holds some keys of a shard, or none; a log that was cut amid a
        step, and is read twice, gives a part of that step.
        """
        self.leave()
        if isinstance(wrong, StoreRefused):
            if not any(word in str(wrong) for word in self.excused):
                raise wrong
            if broken := re.search(rf"BROKEN \{{{NAME}\.(\d)\}}", str(wrong)):
                self.store.drop(NAME, int(broken[1]))
        self.enter(back=True)
