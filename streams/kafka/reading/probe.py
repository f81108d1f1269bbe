"""Questions to a broker, each asked by a consumer of its own, which is then closed.

Owns how to find a partition's end, one record, and the end of a batch that cannot be decoded. Knows nothing of the
consumer that reads the feed.
"""

import contextlib
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from kafka import TopicPartition
from kafka import errors as client

from streams.errors import BrokerUnreachable
from streams.events import Record
from streams.kafka.connection import CONNECT_MS
from streams.kafka.records import Tp

PROBE_MS = 2_000  # for one batch that exists; a probe that ends too early only rejects a batch in more pieces


class Probe:
    """Asks with consumers that `connect(partitions)` returns."""

    def __init__(self, connect: Callable[[Sequence[Tp]], Any]) -> None:
        self._connect = connect

    def ends(self, tps: Sequence[Tp]) -> dict[Tp, int]:
        """Ask for high watermarks, by a fetch.

        ListOffsets is not enough: the embedded broker answers it with the last batch's first offset plus one.
        """
        with self._consumer(tps) as consumer:
            of = {tp: TopicPartition(*tp) for tp in tps}
            for t, offset in consumer.end_offsets(list(of.values()), timeout_ms=CONNECT_MS).items():
                consumer.seek(t, offset)
            return {tp: _high(consumer, t) for tp, t in of.items()}

    def read(self, tp: Tp, offset: int) -> Record | None:
        """Return the record at `offset`; None if that offset holds no record, or no longer.

        Raises:
            BrokerUnreachable: neither this record nor a later one came, so that nothing is known.
        """
        t = TopicPartition(*tp)
        with self._consumer([tp]) as consumer:
            consumer.seek(t, offset)
            try:
                if _high(consumer, t) <= offset:
                    return None
                consumer.seek(t, offset)
                polled: list[Record] = consumer.poll(timeout_ms=CONNECT_MS, max_records=1).get(t, [])
            except client.OffsetOutOfRangeError:
                return None
            if consumer.position(t) == offset:
                raise _unanswered(t)
        return polled[0] if polled and polled[0].offset == offset else None

    def next_decodable(self, tp: Tp, bad: int) -> int:
        """Find the first offset after `bad` that decodes, by bisection.

        A fetch at any offset inside a broken batch brings that batch, so decoding fails at all of them.
        """
        end, step = self.ends([tp])[tp], 1
        while bad + step < end and not self.decodes(tp, bad + step):
            bad, step = bad + step, step * 2
        good = min(bad + step, end)
        while good - bad > 1:
            middle = (bad + good) // 2
            bad, good = (bad, middle) if self.decodes(tp, middle) else (middle, good)
        return good

    def decodes(self, tp: Tp, offset: int) -> bool:
        """Return whether the batch at `offset` can be decoded."""
        with self._consumer([tp]) as consumer:
            consumer.seek(TopicPartition(*tp), offset)
            try:
                consumer.poll(timeout_ms=PROBE_MS, max_records=1)
            except Exception as wrong:
                if not undecodable(wrong):
                    raise
                return False
        return True

    @contextlib.contextmanager
    def _consumer(self, tps: Sequence[Tp]) -> Iterator[Any]:
        consumer = self._connect(tps)
        try:
            yield consumer
        finally:
            discard(consumer)


def undecodable(wrong: Exception) -> bool:
    """Return whether a poll failed on the records' bytes: codecs raise errors of any type, the client its own."""
    bytes_at_fault = isinstance(wrong, client.CorruptRecordError | client.UnsupportedCodecError)
    return bytes_at_fault or not isinstance(wrong, client.KafkaError)


def discard(consumer: Any) -> None:
    """Close a consumer, whatever state it is in."""
    with contextlib.suppress(Exception):
        consumer.close(autocommit=False, timeout_ms=0)


def _high(consumer: Any, t: Any) -> int:
    """Fetch until an answer brings the high watermark, whether or not its records can be decoded."""
    deadline = time.monotonic() + CONNECT_MS / 1_000
    while (high := consumer.highwater(t)) is None:
        if time.monotonic() > deadline:
            raise _unanswered(t)
        try:
            consumer.poll(timeout_ms=50, max_records=1)
        except Exception as wrong:
            if not undecodable(wrong):
                raise
    return int(high)


def _unanswered(t: Any) -> BrokerUnreachable:
    return BrokerUnreachable(f"no answer about {t.topic}/{t.partition} in {CONNECT_MS} ms")
