"""Publishes a fault run's records: with every codec, transactions and wrong clocks, until all are acknowledged.

Owns a producer for each batch, as the next one may be of another kind. What may or may not have arrived is sent again,
as any producer does. Knows nothing of what a record means.
"""

import time
from collections.abc import Sequence
from random import Random
from typing import Any

from kafka import KafkaProducer
from kafka import errors as client

from streams.kafka import Tp

CODECS = (None, "gzip", "snappy", "lz4", "zstd")
ABORTED = 0.2  # of the batches come after an aborted transaction, and in a committed one
ANSWER_S = 20.0
RETRY_S = 0.2


class Publisher:
    """`largest` is a record's size in bytes; `transactional_id` is None where the broker shows aborted records."""

    def __init__(self, bootstrap: str, largest: int, transactional_id: str | None, random: Random) -> None:
        self._given = {"bootstrap_servers": bootstrap, "max_request_size": largest, "acks": "all"}
        self._id, self._random = transactional_id, random
        self.used: set[str | None] = set()
        self.aborted = 0

    def publish(self, records: Sequence[tuple[Tp, bytes, int]], ghosts: Sequence[tuple[Tp, bytes, int]]) -> None:
        """Publish (partition, value, timestamp in ms) until all are acknowledged; `ghosts` are records to abort."""
        codec, whole = self._random.choice(CODECS), self._id is not None and self._random.random() < ABORTED
        while True:
            try:
                self._publish(records, ghosts, codec, whole=whole)
                self.used.add(codec)
                return
            except client.KafkaError:
                time.sleep(RETRY_S)

    def _publish(self, records: Sequence[Any], ghosts: Sequence[Any], codec: str | None, *, whole: bool) -> None:
        producer: Any = KafkaProducer(
            **self._given, enable_idempotence=True, compression_type=codec, transactional_id=self._id if whole else None
        )
        try:
            if whole:
                producer.init_transactions()
                producer.begin_transaction()
                _send(producer, ghosts)
                producer.abort_transaction()
                self.aborted += len(ghosts)
                producer.begin_transaction()
            _send(producer, records)
            if whole:
                producer.commit_transaction()
        finally:
            producer.close(timeout=0)


def _send(producer: Any, records: Sequence[tuple[Tp, bytes, int]]) -> None:
    sent = [producer.send(tp.topic, value, b"k", None, tp.partition, at_ms) for tp, value, at_ms in records]
    producer.flush(timeout=ANSWER_S)
    for one in sent:
        one.get(ANSWER_S)
