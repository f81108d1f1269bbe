"""Questions to a broker, each answered by a client of its own that is thrown away.

Owns how a consumer is asked for a partition's end, for one record, and for the end of a batch that cannot be decoded.
Knows nothing of the consumer that reads on.
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

PROBE_MS = 500  # for one batch that is there; a probe cut short only rejects a batch in more pieces


class Probe:
    """Asks with consumers that `connect(partitions)` makes."""

    def __init__(self, connect: Callable[[Sequence[Tp]], Any]) -> None:
        self._connect = connect

    def ends(self, tps: Sequence[Tp]) -> dict[Tp, int]:
        """Ask for high watermarks, by a fetch.

        ListOffsets alone will not do: the embedded broker answers it with the last batch's first offset plus one.
        """
        with self._consumer(tps) as consumer:
            of = {tp: TopicPartition(*tp) for tp in tps}
            for t, offset in consumer.end_offsets(list(of.values()), timeout_ms=CONNECT_MS).items():
                consumer.seek(t, offset)
            return {tp: _high(consumer, t) for tp, t in of.items()}

    def read(self, tp: Tp, offset: int) -> Record | None:
        """Read the one record at `offset`; None if there is none (any more).

        Raises:
            BrokerUnreachable: it did not come, and nothing that comes after it either: that tells nothing.
        """
        t = TopicPartition(*tp)
        with self._consumer([tp]) as consumer:
            consumer.seek(t, offset)
            try:
                if _high(consumer, t) <= offset:
                    return None
                consumer.seek(t, offset)
                found: list[Record] = consumer.poll(timeout_ms=CONNECT_MS, max_records=1).get(t, [])
            except client.OffsetOutOfRangeError:
                return None
            if consumer.position(t) == offset:
                raise _unanswered(t)
        return found[0] if found and found[0].offset == offset else None

    def next_decodable(self, tp: Tp, bad: int) -> int:
        """Bisect: any offset inside a broken batch fetches that batch, so decoding is monotone up to its end."""
        end, step = self.ends([tp])[tp], 1
        while bad + step < end and not self.decodes(tp, bad + step):
            bad, step = bad + step, step * 2
        good = min(bad + step, end)
        while good - bad > 1:
            middle = (bad + good) // 2
            bad, good = (bad, middle) if self.decodes(tp, middle) else (middle, good)
        return good

    def decodes(self, tp: Tp, offset: int) -> bool:
        """Tell whether the batch at `offset` can be decoded."""
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
    """Tell whether a poll failed on the records' bytes: codecs and formats raise anything, the rest its own."""
    bytes_at_fault = isinstance(wrong, client.CorruptRecordError | client.UnsupportedCodecError)
    return bytes_at_fault or not isinstance(wrong, client.KafkaError)


def discard(consumer: Any) -> None:
    """Let a consumer go, whatever state it is in."""
    with contextlib.suppress(Exception):
        consumer.close(autocommit=False, timeout_ms=0)


def _high(consumer: Any, t: Any) -> int:
    """Fetch until an answer has told the high watermark, whether or not its records can be decoded."""
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
