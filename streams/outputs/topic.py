"""Samples into a Kafka topic: one partition for each shard, in the order of the stream, each batch in one transaction.

Owns the record's form: the key is the id, the value the sample's JSON; headers are `kind`, `revision`, `position` and
`t`. A record of kind `void` says that all earlier records of its partition with a later position are outdated. The
transactional id fences a writer that should be dead, and its open transaction is aborted. Consumers must read
committed. A broker that shows aborted records to everybody (the embedded one does) loses and doubles nothing: such
records count as written, because positions are taken from what can be read.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing
from typing import NamedTuple

import msgspec
from msgspec import Struct

from streams.errors import HistoryChanged
from streams.events import Record
from streams.join.store import NOTHING, StoredSample
from streams.kafka import Sink, Source, Tp
from streams.kafka.broker import Broker
from streams.kafka.reading.scan import scan
from streams.outputs.samples import number
from streams.outputs.writer import Output, Target

VOID = "void"


class _Head(Struct):
    id: str
    kind: str
    revision: int
    t: int


_head = msgspec.json.Decoder(_Head).decode


class Topic(NamedTuple):
    """One partition, and what opens a sink with its transactional id, and a source that reads committed records."""

    tp: Tp
    sink: Callable[[], Sink]
    source: Callable[[], Source]


class TopicOutput:
    """One shard's partition."""

    def __init__(self, topic: Topic) -> None:
        self.name = f"topic {topic.tp.topic!r}, partition {topic.tp.partition},"
        self._topic, self._sink = topic, topic.sink()
        with closing(topic.source()) as source:  # opened after the sink, which has ended its predecessor's transaction
            last = next(backwards(source, topic.tp), None)
        self._position = position_of(last) if last else NOTHING

    def position(self) -> str:
        """Return the position of the last committed sample."""
        return self._position

    def write(self, samples: Sequence[StoredSample]) -> None:
        """Commit these samples, all or none."""
        if not samples:
            return
        with self._sink.transaction():
            for position, sample, _ in samples:
                head = _head(sample)
                self._send(head.id.encode(), sample, head, position)
        self._position = samples[-1].position

    def flush(self) -> None:
        """Do nothing: `write` has committed."""

    def rewind(self, count: int) -> None:
        """Write a record of kind void: every sample after the first `count` is outdated."""
        with closing(self._topic.source()) as source:
            position = NOTHING if count == 0 else self._find(source, count)
        with self._sink.transaction():
            self._send(b"", b"{}", _Head("", VOID, 0, 0), position)
        self._position = position

    def close(self) -> None:
        """Close the client."""
        self._sink.close()

    def _send(self, key: bytes, value: bytes, head: _Head, position: str) -> None:
        texts = {"kind": head.kind, "revision": str(head.revision), "position": position}
        headers = [(name, text.encode()) for name, text in texts.items()]
        self._sink.send(self._topic.tp, key=key, value=value, t_ms=head.t, headers=headers)

    def _find(self, source: Source, count: int) -> str:
        for record in backwards(source, self._topic.tp):
            if number(position_of(record)) == count:
                return position_of(record)
        raise HistoryChanged(f"{self.name} holds no sample {count} to go back to")


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
    """Return the sample stream's position that a record has in its headers.

    Raises:
        HistoryChanged: it has none, so another program wrote it.
    """
    for name, value in record.headers:
        if name == "position":
            return value.decode()
    where = f"{record.topic}/{record.partition}/{record.offset}"
    raise HistoryChanged(f"{where} has no header 'position': another program writes there; set output.topic to another")


def backwards(source: Source, tp: Tp) -> Iterator[Record]:
    """Yield a partition's records from the last to the first, in ranges of doubling length.

    The last offsets may hold no record that can be read: transaction markers, and aborted records.
    """
    start, end = source.starts()[tp], source.ends()[tp]
    length = 2
    while end > start:
        begin = max(start, end - length)
        records = [record for part in scan(source, {tp: (begin, end)}) for record in part.records]
        yield from reversed(records)
        end, length = begin, length * 2
