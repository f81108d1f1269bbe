"""A sink of records: the broker's word on every one, and transactions where all or none shall be seen.

Owns the producer and what becomes of it after a failure: it is replaced, because one that failed once fails for ever.
Knows nothing of what a record means.
"""

import contextlib
import time
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from kafka import KafkaProducer
from kafka import errors as client

from streams.broker import Broker, broker
from streams.errors import BrokerUnreachable, RecordTooLarge, ShadowstreamError
from streams.kafka.admin import limit_bytes
from streams.kafka.connection import ANSWER_MS, CONNECT_MS, settings
from streams.kafka.faults import TOO_LARGE, Access, connecting, fault
from streams.kafka.records import Tp

LINGER_MS = 100  # `flush` sends at once, and as one batch: the embedded broker's fetch costs 0.5 us for each in the log
REQUEST_BYTES = 1 << 20  # the client's own limit of a record
SHOWN_KEY_BYTES = 100


class _Sent(NamedTuple):
    tp: Tp
    key: bytes | None
    size: int
    future: Any


class Sink:
    """Writes records and waits for the broker's word on every one.

    With a `transactional_id` everything is sent inside a `transaction`. Opening a sink ends what an earlier one with
    the same id left open, and fences that one: it can never write again.

    Raises:
        BrokerUnreachable: the broker does not answer or acknowledge; worth a retry, on this sink.
        BrokerRefused: it answers and refuses us, or what we write; says what would be right. Any method may raise it.
    """

    def __init__(self, at: Broker | str, *, transactional_id: str | None = None) -> None:
        self._broker, self._transactional_id = broker(at), transactional_id
        self._sent: list[_Sent] = []
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
        """Queue one record at the wall clock, its event time in the header `t`; `flush` tells what became of it.

        Raises:
            RecordTooLarge: it is larger than the client sends.
        """
        self._producer = self._producer or self._connect()
        record = (value, key, [("t", b"%d" % t_ms), *headers], tp.partition, int(time.time() * 1_000))
        size = len(key or b"") + len(value or b"")
        try:
            future = self._producer.send(tp.topic, *record)
        except client.KafkaError as wrong:
            raise self._failed(wrong, _Sent(tp, key, size, None)) from wrong
        self._sent.append(_Sent(tp, key, size, future))

    def flush(self) -> dict[Tp, int]:
        """Wait for every record sent since the last flush; give the offset after the last one, per partition.

        Raises:
            RecordTooLarge: one is larger than its topic takes.
        """
        sent, self._sent = self._sent, []
        after: dict[Tp, int] = {}
        last = None
        try:
            if sent:
                self._producer.flush(timeout=ANSWER_MS / 1_000)
            for last in sent:
                after[last.tp] = last.future.get(ANSWER_MS / 1_000).offset + 1
        except client.KafkaError as wrong:
            raise self._failed(wrong, last) from wrong
        return after

    @contextlib.contextmanager
    def transaction(self) -> Iterator[None]:
        """Commit all that is sent inside, or, if anything is raised, none of it.

        Raises:
            BrokerUnreachable: also where the broker's word on the commit did not come; then look before writing again.
        """
        self._producer = self._producer or self._connect()
        self._producer.begin_transaction()
        try:
            yield
            self.flush()
            self._end("begin_commit")
        except BaseException:
            self._abort()
            raise

    def close(self) -> None:
        """Let the client go; what was not flushed may be lost."""
        self._sent = []
        if self._producer:
            with contextlib.suppress(client.KafkaError):
                self._producer.close(timeout=0)
        self._producer = None

    def _connect(self) -> Any:
        with connecting(self._access()):
            producer = KafkaProducer(
                **settings(self._broker),
                acks="all",
                enable_idempotence=True,
                transactional_id=self._transactional_id,
                linger_ms=LINGER_MS,
                batch_size=1 << 18,
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
        """Commit or abort: the client's own methods wait for ever for a broker that is gone."""
        try:
            result = getattr(self._producer._transaction_manager, how)()
            self._producer._sender.wakeup()
            if not result.wait(ANSWER_MS):
                raise client.KafkaTimeoutError(f"no answer to {how} in {ANSWER_MS} ms")
        except client.KafkaError as wrong:
            raise self._failed(wrong, None) from wrong

    def _abort(self) -> None:
        self._sent = []
        if self._producer:
            with contextlib.suppress(ShadowstreamError):
                self._end("begin_abort")

    def _access(self, tp: Tp | None = None) -> Access:
        return Access(self._broker, "Write", [tp.topic] if tp else [], transactional_id=self._transactional_id)

    def _failed(self, wrong: client.KafkaError, sent: _Sent | None) -> ShadowstreamError:
        """Let the producer go, and give our error."""
        self.close()
        if sent and isinstance(wrong, TOO_LARGE):
            return self._too_large(sent)
        told = fault(wrong, self._access(sent and sent.tp))
        return BrokerUnreachable(f"not acknowledged: {told}") if isinstance(told, BrokerUnreachable) else told

    def _too_large(self, sent: _Sent) -> RecordTooLarge:
        topic, key = sent.tp.topic, (sent.key or b"")[:SHOWN_KEY_BYTES]
        what = f"topic {topic!r}, key {key!r}: a record of {sent.size} bytes"
        if sent.size + len(topic) > REQUEST_BYTES:
            return RecordTooLarge(f"{what} is larger than the client sends ({REQUEST_BYTES} bytes)")
        limit = limit_bytes(self._broker, topic)
        return RecordTooLarge(f"{what} is larger than its max.message.bytes ({limit or 'not told'})")
