"""A sink of records: the broker acknowledges every one, and transactions show all or none.

Owns the producer, and replaces it after a failure, because a producer that failed once fails for ever. Knows nothing of
what a record means.
"""

import contextlib
import time
from collections.abc import Iterator, Sequence
from typing import Any

from aiokafka.record.default_records import DefaultRecordBatchBuilder
from kafka import KafkaProducer
from kafka import errors as client

from streams.errors import BrokerRefused, BrokerUnreachable, RecordTooLarge, ShadowstreamError
from streams.kafka.admin import limit_bytes
from streams.kafka.broker import Broker, broker
from streams.kafka.connection import ANSWER_MS, CONNECT_MS, settings
from streams.kafka.faults import TOO_LARGE, Access, connecting, fault
from streams.kafka.internals import Timer, end_transaction
from streams.kafka.records import Tp
from streams.kafka.writing.encoding import BATCH_BYTES, Batch

SHOWN_KEY_BYTES = 100

_estimate = DefaultRecordBatchBuilder.estimate_size_in_bytes  # not less than what the broker counts


def size_in_bytes(key: bytes | None, value: bytes | None, headers: Sequence[tuple[str, bytes]]) -> int:
    """Return how large a record is for a broker's limit at most, with headers and framing, but without the header `t`.

    >>> size_in_bytes(b"a", b"b" * 1_000, [("reason", b"late")])
    1123
    """
    return int(_estimate(key, value, [("t", b"%d" % (1 << 60)), *headers]))


class Sink:
    """Writes records and waits until the broker has acknowledged every one.

    With a `transactional_id` everything is sent inside a `transaction`. Opening a sink ends a transaction that an
    earlier sink with the same id left open, and fences that sink: it can never write again.

    Raises:
        BrokerUnreachable: the broker does not answer or acknowledge; worth a retry, on this sink. BrokerRefused: it
        refuses the login or the record; the message says what would be right. Any method may raise it.
    """

    def __init__(self, at: Broker | str, *, transactional_id: str | None = None) -> None:
        self._broker, self._transactional_id = broker(at), transactional_id
        self._open: dict[Tp, Batch] = {}
        self._sent: list[tuple[Tp, Batch]] = []
        self._limits: dict[str, int] = {}
        self._producer: Any = self._connect()

    def limit_bytes(self, topic: str) -> int:
        """Return the largest record that can be sent to a topic, as `size_in_bytes` counts; it is asked for once."""
        if topic not in self._limits:
            ours = self._broker.request_bytes
            self._limits[topic] = min(ours, limit_bytes(self._broker, topic) or ours)
        return self._limits[topic]

    def send(
        self,
        tp: Tp,
        *,
        key: bytes | None,
        value: bytes | None,
        t_ms: int,
        headers: Sequence[tuple[str, bytes]] = (),
    ) -> None:
        """Queue one record, its timestamp the wall clock, its event time in the header `t`; `flush` waits for it.

        Raises:
            RecordTooLarge: it is larger than the client sends.
        """
        all_headers = [("t", b"%d" % t_ms), *headers]
        if (size := _estimate(key, value, all_headers)) > self._broker.request_bytes:
            raise self._too_large(tp, key, size)
        batch, at_ms = self._open.get(tp), int(time.time() * 1_000)
        if batch is None or not batch.append(at_ms, key, value, all_headers):
            self._hand(tp)
            self._begun(tp).append(at_ms, key, value, all_headers)

    def flush(self) -> dict[Tp, int]:
        """Wait for every record sent since the last flush; return the offset after the last one of each partition.

        Raises:
            RecordTooLarge: one is larger than its topic takes.
        """
        for tp in list(self._open):
            self._hand(tp)
        sent, self._sent = self._sent, []
        after, timer = dict[Tp, int](), Timer(ANSWER_MS)
        for tp, batch in sent:
            try:
                after[tp] = batch.end(timer)
            except client.KafkaError as wrong:
                if isinstance(wrong, TOO_LARGE):
                    record = batch.record(wrong.index)
                    size = _estimate(record.key, record.value, record.headers)
                    raise self._too_large(tp, record.key, size) from wrong
                raise self._failed(wrong, tp) from wrong
        return after

    @contextlib.contextmanager
    def transaction(self) -> Iterator[None]:
        """Commit all that is sent inside, or none of it if anything is raised.

        Raises:
            BrokerUnreachable: also where no answer to the commit came; then find out whether it holds before writing.
        """
        self._connected().begin_transaction()
        try:
            yield
            self.flush()
            self._end("begin_commit")
        except BaseException:
            self._abort()
            raise

    def close(self) -> None:
        """Close the client; records that were not flushed may be lost."""
        self._open, self._sent = {}, []
        if self._producer:
            with contextlib.suppress(client.KafkaError):
                self._producer.close(timeout=0)
        self._producer = None

    def _begun(self, tp: Tp) -> Batch:
        """Begin a partition's next batch, after asking the broker whether the partition exists."""
        try:
            partitions = self._connected().partitions_for(tp.topic)
        except client.KafkaError as wrong:
            raise self._failed(wrong, tp) from wrong
        if tp.partition not in partitions:
            self.close()  # the next one asks again
            raise BrokerRefused(f"topic {tp.topic!r} has no partition {tp.partition}, only {sorted(partitions)}")
        batch = self._open[tp] = Batch(tp, transactional=self._transactional_id is not None)
        return batch

    def _hand(self, tp: Tp) -> None:
        """Hand a partition's open batch to the producer."""
        if batch := self._open.pop(tp, None):
            try:
                batch.hand(self._producer)
            except client.KafkaError as wrong:
                raise self._failed(wrong, tp) from wrong
            self._sent.append((tp, batch))

    def _connected(self) -> Any:
        self._producer = self._producer or self._connect()
        return self._producer

    def _connect(self) -> Any:
        with connecting(self._access()):
            producer = KafkaProducer(
                **settings(self._broker),
                acks="all",
                enable_idempotence=True,
                transactional_id=self._transactional_id,
                batch_size=BATCH_BYTES,
                max_request_size=self._broker.request_bytes,
                max_block_ms=ANSWER_MS if self._transactional_id else CONNECT_MS,
                delivery_timeout_ms=ANSWER_MS,
                request_timeout_ms=ANSWER_MS // 2,
                allow_auto_create_topics=False,
                metrics_enabled=False,
            )
            if self._transactional_id:
                producer.init_transactions()
        return producer

    def _end(self, how: str) -> None:
        try:
            end_transaction(self._producer, how, ANSWER_MS)
        except client.KafkaError as wrong:
            raise self._failed(wrong, None) from wrong

    def _abort(self) -> None:
        self._open, self._sent = {}, []
        if self._producer:
            with contextlib.suppress(ShadowstreamError):
                self._end("begin_abort")

    def _access(self, tp: Tp | None = None) -> Access:
        return Access(self._broker, "Write", [tp.topic] if tp else [], transactional_id=self._transactional_id)

    def _failed(self, wrong: client.KafkaError, tp: Tp | None) -> ShadowstreamError:
        """Close the producer, and return our error."""
        self.close()
        error = fault(wrong, self._access(tp))
        return BrokerUnreachable(f"not acknowledged: {error}") if isinstance(error, BrokerUnreachable) else error

    def _too_large(self, tp: Tp, key: bytes | None, size: int) -> RecordTooLarge:
        """Close the producer, and return the error that names the limit which the record exceeds."""
        self.close()
        ours, limit = self._broker.request_bytes, limit_bytes(self._broker, tp.topic)
        what = f"topic {tp.topic!r}, key {(key or b'')[:SHOWN_KEY_BYTES]!r}: a record of {size} bytes in all"
        if size > ours:
            also = f", and the topic's max.message.bytes ({limit})" if limit and size > limit else ""
            return RecordTooLarge(f"{what} is larger than kafka.max_request_bytes ({ours}){also}; raise it to {size}")
        if limit and size > limit:
            return RecordTooLarge(f"{what} is larger than the topic's max.message.bytes ({limit}); raise it to {size}")
        known = f"max.message.bytes is {limit}" if limit else "max.message.bytes is not known"
        return RecordTooLarge(
            f"{what} is too large for the broker, though the topic's {known}; raise its message.max.bytes"
        )
