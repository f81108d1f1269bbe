"""A feed to join, on a real broker and store, and the means to fill it.

It is a module of its own, because pytest loads a test's module a second time, with another `NUMBER`.
"""

import itertools
import time
from contextlib import ExitStack, closing
from dataclasses import replace

from msgspec import Raw

from learners.tasks.task import Task
from streams.events import Prediction, Record, Target, encode
from streams.join.batch import Readers
from streams.join.joiner import Ages, Joiner, Quiet
from streams.join.policy import JoinPolicy
from streams.join.store import Store
from streams.kafka import Sink, Source, Tp, ensure_topics
from streams.kafka.records import tp_name
from streams.readers import read_prediction, read_sample
from tests import small
from tests.conftest import Running

NUMBER = itertools.count()
T = 1_360_000_000_000  # event times of the past


class Feed:
    """A feed's topics and shards, and the means to fill and join it."""

    def __init__(
        self, broker: Running, store: Running, partitions: int = 1, task: Task = small.pipeline.task, **policy: float
    ) -> None:
        self.name, self.broker, self.undo = f"joined{next(NUMBER)}", broker.address, ExitStack()
        self.policy = JoinPolicy(**policy)  # type: ignore[arg-type]
        self.outcome = replace(small.pipeline, task=task).as_feed().outcome
        self.topics = [f"{self.name}-{kind}" for kind in "pod"]
        ensure_topics(self.broker, dict.fromkeys(self.topics[:2], partitions) | {self.topics[2]: 1})
        self.tps = [Tp(topic, n) for topic in self.topics[:2] for n in range(partitions)]
        self.store = self.undo.enter_context(closing(Store(store.address)))
        self.store.create(self.name, self.policy.shards, self.tps)
        self.sink = self.undo.enter_context(closing(Sink(self.broker)))
        self.now = 0.0

    def joiner(
        self, sink: Sink | None = None, partition: int | None = None, ages_ms: Ages | None = None,
        quiet: Quiet = lambda tp: 0.0,
    ) -> Joiner:  # fmt: skip
        predictions, outcomes, dead_letters = self.topics
        readers = Readers(
            predictions=predictions,
            outcomes=outcomes,
            dead_letters=dead_letters,
            prediction=read_prediction,
            outcome=self.outcome,
        )
        tps = [tp for tp in self.tps if partition in (None, tp.partition)]
        source = self.undo.enter_context(closing(Source(self.broker, tps)))
        sink, clock = sink or self.sink, lambda: self.now
        return Joiner(self.name, self.policy, source, self.store, sink, readers, clock, ages_ms=ages_ms, quiet=quiet)

    def predict(self, *numbers: int) -> None:
        for n in numbers:
            event = Prediction(f"id{n}", T + n, 1, (0.5,), (0.0,), n, Raw(b'{"x":%d}' % n))
            tp = self.tps[n % (len(self.tps) // 2)]
            self.sink.send(tp, key=None, value=encode(event), t_ms=T + n)
        self.sink.flush()

    def report(self, *numbers: int) -> None:
        for n in numbers:
            tp = self.tps[len(self.tps) // 2 + n % (len(self.tps) // 2)]
            self.sink.send(tp, key=b"id%d" % n, value=b'{"label":%d}' % (n % 2), t_ms=T + n + 1)
        self.sink.flush()

    def labels(self) -> dict[str, Target]:
        rows = [
            read_sample(body)
            for shard in range(self.policy.shards)
            for _, body, _ in self.store.read(self.name, shard, "0-0", 10_000)
        ]
        assert len({row.prediction.id for row in rows}) == len(rows)
        return {row.prediction.id: row.label for row in rows}

    def letters(self, count: int) -> list[Record]:
        with closing(Source(self.broker, [Tp(self.topics[2], 0)])) as source:
            records: list[Record] = []
            deadline = time.monotonic() + 300
            while len(records) < count and time.monotonic() < deadline:
                records += [record for polled in source.poll(100, 1_000) for record in polled.records]
            return records


def run(joiner: Joiner, records: int) -> None:
    """Step until so many records were handled."""
    deadline = time.monotonic() + 300
    while records > 0:
        assert time.monotonic() < deadline
        records -= joiner.step(50)
    assert records == 0


def balanced(feed: Feed) -> None:
    """Check the equation of offsets, for each partition over all shards."""
    shards = [feed.store.shard(feed.name, shard) for shard in range(feed.policy.shards)]
    for tp in feed.tps:
        at = [shard.partitions[tp_name(tp)] for shard in shards]
        assert len({p.next for p in at}) == 1
        assert at[0].next - at[0].start == sum(p.records + p.rejected + p.holes + p.lost for p in at)
