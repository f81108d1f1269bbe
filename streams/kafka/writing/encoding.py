"""Packs records into whole batches, in C, and hands the batches to the producer.

Owns how a batch is filled and waited for: 3 us a record, where kafka-python's producer takes 25 us (checks, a future
and packing in Python for each). The producer owns the rest: sequence numbers, retries, transactions. Knows nothing of
connections.
"""

from collections.abc import Sequence
from functools import cached_property
from typing import Any

from aiokafka.record.default_records import DefaultRecordBatchBuilder
from kafka import errors as client

from streams.kafka.internals import MemoryRecords, QueuedBatch, RecordsBuilder, Timer, record_future
from streams.kafka.records import Tp

BATCH_BYTES = 1 << 19
MAGIC, UNCOMPRESSED = 2, 0


class Batch(QueuedBatch):
    """A batch of one partition's records: fill it with `append`, `hand` it to a producer, wait for its `end`."""

    def __init__(self, tp: Tp, *, transactional: bool) -> None:
        builder = DefaultRecordBatchBuilder(MAGIC, UNCOMPRESSED, transactional, -1, -1, -1, BATCH_BYTES)
        records = RecordsBuilder(MAGIC, UNCOMPRESSED, BATCH_BYTES, builder)
        self._futures = _Futures(self)
        super().__init__(*tp, records, self._futures)

    def append(self, t_ms: int, key: bytes | None, value: bytes | None, headers: Sequence[tuple[str, bytes]]) -> bool:
        """Add one record; return False if the batch is full."""
        return self.records.append(t_ms, key, value, headers) is not None

    def end(self, timer: Timer) -> int:
        """Wait until the broker has acknowledged or refused the batch; return the offset after its last record.

        Raises:
            KafkaError: the error of the first refused record; `index` is its index in the batch.
        """
        self.produce_future.wait(timer.timeout_secs)
        if self.produce_future.is_done:
            first, _, errors = self.produce_future.value
            if errors is None:
                return int(first) + int(self.record_count)
        for index, record in enumerate(self._futures.made):
            try:
                last = record.get(timer.timeout_secs)
            except client.KafkaError as wrong:
                wrong.index = index
                raise
        return int(last.offset) + 1

    def record(self, index: int) -> Any:
        """Return a record of a batch that was sent, with its `key` and `value`."""
        return list(next(MemoryRecords(self.records.buffer())))[index]


class _Futures:
    """A future for every record, created when first needed: when the batch must be split, or was refused."""

    def __init__(self, batch: Batch) -> None:
        self._batch = batch

    @cached_property
    def made(self) -> list[Any]:
        return [record_future(self._batch, index) for index in range(self._batch.record_count)]

    def __len__(self) -> int:
        return len(self.made)

    def __getitem__(self, index: int) -> Any:
        return self.made[index]
