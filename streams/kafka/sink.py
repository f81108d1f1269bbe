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
from streams.kafka.encoding import BATCH_BYTES, Batch
from streams.kafka.faults import TOO_LARGE, Access, connecting, fault
from streams.kafka.internals import Timer, end_transaction
from streams.kafka.records import Tp

REQUEST_BYTES = 1 << 20  # the client's limit of a record
SHOWN_KEY_BYTES = 100

size_in_bytes = DefaultRecordBatchBuilder.estimate_size_in_bytes


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
        self._producer: Any = self._connect()

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
        if size_in_bytes(key, value, all_headers) > REQUEST_BYTES:
            raise self._too_large(tp, key, value)
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
                    raise self._too_large(tp, record.key, record.value) from wrong
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
                max_request_size=REQUEST_BYTES,
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

    def _too_large(self, tp: Tp, key: bytes | None, value: bytes | None) -> RecordTooLarge:
        self.close()
        size = len(key or b"") + len(value or b"")
        what = f"topic {tp.topic!r}, key {(key or b'')[:SHOWN_KEY_BYTES]!r}: a record of {size} bytes"
        if size + len(tp.topic) > REQUEST_BYTES:
            return RecordTooLarge(f"{what} is larger than the client sends ({REQUEST_BYTES} bytes)")
        limit = limit_bytes(self._broker, tp.topic)
        return RecordTooLarge(f"{what} is larger than its max.message.bytes ({limit or 'unknown'})")
