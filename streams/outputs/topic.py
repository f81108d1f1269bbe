"""Samples into a Kafka topic: one partition a shard, in the order of the stream, each batch in one transaction.

Owns the record's form: key the id, value the sample's JSON, headers `kind`, `revision`, `position` and `t`. A record of
kind `void` says that every earlier sample of its partition behind its position is outdated. The transactional id fences
a writer that should be dead; its open transaction is aborted. Whoever reads must read committed. Where a broker shows
aborted records to everybody (the embedded one does) they count as written: nothing is missing and nothing twice, for
positions are taken from what can be read.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing
from typing import NamedTuple

import msgspec
from msgspec import Struct

from streams.errors import BrokerUnreachable, HistoryChanged
from streams.events import Record
from streams.join.store import NOTHING
from streams.kafka import Sink, Source, Tp
from streams.kafka.broker import Broker
from streams.outputs.samples import number
from streams.outputs.writer import Output, Target

VOID = "void"
ANSWER_S = 20.0
POLL_MS = 200


class _Head(Struct):
    id: str
    kind: str
    revision: int
    t: int


_head = msgspec.json.Decoder(_Head).decode


class Topic(NamedTuple):
    """One partition: how to make a sink whose transactions bear its name, and a source that reads it committed."""

    tp: Tp
    sink: Callable[[], Sink]
    source: Callable[[], Source]


class TopicOutput:
    """One shard's partition."""

    def __init__(self, topic: Topic) -> None:
        self.place = f"topic {topic.tp.topic!r}, partition {topic.tp.partition},"
        self._topic, self._sink = topic, topic.sink()
        with closing(topic.source()) as source:  # after the sink, which has ended its predecessor's transaction
            last = next(backwards(source, topic.tp), None)
        self._position = position_of(last) if last else NOTHING

    def position(self) -> str:
        """Give the position of the last sample committed."""
        return self._position

    def write(self, samples: Sequence[tuple[str, bytes]]) -> None:
        """Commit these, all or none."""
        if not samples:
            return
        with self._sink.transaction():
            for position, sample in samples:
                head = _head(sample)
                self._send(head.id.encode(), sample, head, position)
        self._position = samples[-1][0]

    def flush(self) -> None:
        """Do nothing: what was written is committed."""

    def rewind(self, count: int) -> None:
        """Say in the topic that every sample behind the first `count` is void."""
        with closing(self._topic.source()) as source:
            place = NOTHING if count == 0 else self._find(source, count)
        with self._sink.transaction():
            self._send(b"", b"{}", _Head("", VOID, 0, 0), place)
        self._position = place

    def close(self) -> None:
        """Let the client go."""
        self._sink.close()

    def _send(self, key: bytes, value: bytes, head: _Head, position: str) -> None:
        about = {"kind": head.kind, "revision": str(head.revision), "position": position}
        headers = [(name, text.encode()) for name, text in about.items()]
        self._sink.send(self._topic.tp, key=key, value=value, t_ms=head.t, headers=headers)

    def _find(self, source: Source, count: int) -> str:
        for record in backwards(source, self._topic.tp):
            if number(position_of(record)) == count:
                return position_of(record)
        raise HistoryChanged(f"{self.place} holds no sample {count} to go back to")


def connect(target: Target, at: Broker, stack: ExitStack) -> list[Output]:
    """Connect to every shard's partition; `stack` closes the clients."""
    outputs: list[Output] = []
    for shard in range(target.shards):
        tp, name = target.tp(shard), f"{target.feed}.{shard}.writer"
        output = TopicOutput(_topic(at, tp, name))
        stack.callback(output.close)
        outputs.append(output)
    return outputs


def _topic(at: Broker, tp: Tp, transactional_id: str) -> Topic:
    return Topic(tp, lambda: Sink(at, transactional_id=transactional_id), lambda: Source(at, [tp]))


def position_of(record: Record) -> str:
    """Give the position that a record of ours stands for.

    Raises:
        HistoryChanged: it is not ours.
    """
    for name, value in record.headers:
        if name == "position":
            return value.decode()
    where = f"{record.topic}/{record.partition}/{record.offset}"
    raise HistoryChanged(f"{where} has no header 'position': another program writes to this topic; name one of its own")


def backwards(source: Source, tp: Tp) -> Iterator[Record]:
    """Give a partition's records from the last to the first: the end is found by looking ever further back.

    What lies at the very end may be markers, and aborted records.
    """
    start, end = source.starts()[tp], source.ends()[tp]
    back = 2
    while end > start:
        begin = max(start, end - back)
        found = _between(source, tp, begin, end)
        yield from reversed(found)
        end, back = begin, back * 2


def _between(source: Source, tp: Tp, start: int, end: int) -> list[Record]:
    found: list[Record] = []
    deadline = time.monotonic() + ANSWER_S
    source.seek(tp, start)
    while source.position(tp) < end:
        if time.monotonic() > deadline:
            where = f"{tp.topic}/{tp.partition}"
            raise BrokerUnreachable(f"{where}: nothing between {source.position(tp)} and {end} in {ANSWER_S:.0f} s")
        for polled in source.poll(POLL_MS, 1_000):
            found += [record for record in polled.records if record.offset < end]
    return found
