"""A feed to operate on: on a real broker and store, with its file, and the means to fill and join it."""

import itertools
import time
from collections.abc import Callable
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import msgspec

from deploy.config import Output, Registry, Settings
from deploy.operate.attach import Attached, attach
from deploy.operate.join.audit import inspect
from streams.events import Prediction, Record, encode
from streams.join.joiner import Joiner
from streams.join.policy import JoinPolicy
from streams.kafka import Sink, Tp, ensure_topics
from streams.kafka.broker import Broker
from streams.kafka.reading.scan import records
from streams.redis import Address

NUMBER = itertools.count()
T = 1_360_000_000_000
WHY = "a broker of the test"
PLACES = [("embedded", "stream"), ("embedded", "topic"), ("embedded", "parquet")]
FEED = """
from deploy.feed import Feed
from streams.readers import json_outcome, read_prediction
from streams.returned import labelled
read = lambda record: labelled(one := json_outcome(record), one.label)
feed = Feed(name="{name}", prediction=read_prediction, outcome={outcome})
"""
STRICT = "read"
FIXED = "lambda record: read(record._replace(value=(record.value or b'').strip(b'#')))"


class World:
    """A feed on a real broker and store, its file, and the means to fill and join it."""

    def __init__(
        self, folder: Path, broker: str, store: str, *, partitions: int = 1, to: Any = "stream", **join: Any
    ) -> None:
        self.name, self.path, self.undo = f"operated{next(NUMBER)}", folder / "feed.py", ExitStack()
        self.settings = msgspec.structs.replace(
            Settings(),
            kafka=Broker(bootstrap=broker),
            redis=Address(url=store),
            registry=Registry(path=str(folder)),
            join=JoinPolicy(**join),
            output=Output(to=to, path=str(folder / "samples") if to == "parquet" else Output().path),
        )
        self.settings = msgspec.structs.replace(
            self.settings, topics=msgspec.structs.replace(self.settings.topics, partitions=partitions)
        )
        self.reads(STRICT)
        self.attached: Attached = self.undo.enter_context(attach(self.path, self.settings))
        names = (self.attached.readers.predictions, self.attached.readers.outcomes)
        topics, tps = dict.fromkeys(names, partitions), [Tp(name, n) for name in names for n in range(partitions)]
        samples = {self.attached.samples(0).topic: self.attached.shards} if to == "topic" else {}
        ensure_topics(broker, topics | samples | {self.attached.readers.dead_letters: partitions})
        self.attached.store.create(self.name, self.attached.shards, tps)
        self.sink = self.undo.enter_context(closing(Sink(broker)))
        self.prediction_tps, self.outcome_tps = tps[:partitions], tps[partitions:]

    def reads(self, outcome: str) -> None:
        self.path.write_text(FEED.format(name=self.name, outcome=outcome))

    def predict(self, *numbers: int) -> None:
        for n in numbers:
            value = encode(Prediction(f"id{n}", T + n, 1, (0.5,), (0.0,), n, msgspec.Raw(b'{"x":%d}' % n)))
            self.sink.send(self.prediction_tps[n % len(self.prediction_tps)], key=None, value=value, t_ms=T + n)
        self.sink.flush()

    def report(self, *numbers: int, spoilt: bytes = b"", **more: Any) -> None:
        for n in numbers:
            value, tp = spoilt + b'{"label":%d}' % (n % 2), self.outcome_tps[n % len(self.outcome_tps)]
            self.sink.send(tp, key=b"id%d" % n, value=value, t_ms=T + n + 1, **more)
        self.sink.flush()

    def join(self, records: int, letters_per_minute: int = 1_000) -> None:
        """Let a fresh joiner handle so many records."""
        deadline = time.monotonic() + 300
        with attach(self.path, self.settings) as attached, attached.source(attached.tps) as source:
            parts = (source, attached.store, self.sink, attached.readers)
            joiner = Joiner(self.name, self.settings.join, *parts, letters_per_minute=letters_per_minute)
            while records > 0:
                assert time.monotonic() < deadline
                records -= joiner.step(50)
            _ = joiner.shards
            joiner.close()
        assert records == 0

    def count(self, counter: str) -> int:
        return sum(self.attached.store.shard(self.name, n).counters[counter] for n in range(self.attached.shards))

    def in_log(self, tp: Tp) -> list[Record]:
        with self.attached.source([tp]) as source:
            return list(records(source))


Make = Callable[..., World]


def audited(world: World, *, compare: bool = True, waiting: int = 10) -> Any:
    """Return what `audit --json` prints, once it holds."""
    report = inspect(world.path, world.settings, compare=compare, waiting=waiting)
    report.check()
    return msgspec.to_builtins(report)


def yes(_: str) -> bool:
    return True


def shards(world: World) -> list[Any]:
    return [world.attached.store.shard(world.name, n) for n in range(world.attached.shards)]
