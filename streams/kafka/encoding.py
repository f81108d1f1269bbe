"""Records into whole batches, in C, and the batches into the producer.

Owns the seam where kafka-python's producer would take records one by one (25 us each: checks, futures, bytes packed in
Python; 3 here). What becomes of a batch is the producer's: sequence numbers, retries, transactions. Knows nothing of
connections.
"""

from collections.abc import Sequence
from functools import cached_property
from typing import Any

from aiokafka.record.default_records import DefaultRecordBatchBuilder
from kafka import TopicPartition
from kafka import errors as client
from kafka.producer.future import FutureRecordMetadata
from kafka.producer.producer_batch import ProducerBatch
from kafka.record.memory_records import MemoryRecords, MemoryRecordsBuilder
from kafka.util import Timer

from streams.kafka.records import Tp

BATCH_BYTES = 1 << 19
MAGIC, UNCOMPRESSED = 2, 0


class Batch(ProducerBatch):  # type: ignore[misc]
    """A batch of one partition's records: fill it with `append`, `hand` it to a producer, wait for its `end`."""

    def __init__(self, tp: Tp, *, transactional: bool) -> None:
        super().__init__(TopicPartition(*tp), _Records(transactional))
        self._record_futures = _Futures(self)

    def append(self, t_ms: int, key: bytes | None, value: bytes | None, headers: Sequence[tuple[str, bytes]]) -> bool:
        """Add one record; False if the batch is full."""
        return self.records.append(t_ms, key, value, headers) is not None

    def hand(self, producer: Any) -> None:
        """Give the batch to the producer, which sends it at once; nothing can be added any more."""
        tp, accumulator = self.topic_partition, producer._accumulator
        if producer._transaction_manager.is_transactional():
            producer._transaction_manager.maybe_add_partition_to_transaction(tp)
        with accumulator._tp_lock(tp):
            if accumulator._closed:
                raise client.KafkaTimeoutError("the producer has ended")
            accumulator._batches[tp].append(self)
            accumulator._incomplete.add(self)
        producer._sender.wakeup()

    def end(self, timer: Timer) -> int:
        """Wait for the broker's word; give the offset after the last record.

        Raises:
            KafkaError: the first record's that was not taken, with its place in the batch as `index`.
        """
        self.produce_future.wait(timer.timeout_secs)
        if self.produce_future.is_done:
            first, _, errors = self.produce_future.value
            if errors is None:
                return int(first) + int(self.record_count)
        for index, record in enumerate(self._record_futures.made):
            try:
                last = record.get(timer.timeout_secs)
            except client.KafkaError as wrong:
                wrong.index = index
                raise
        return int(last.offset) + 1

    def record(self, index: int) -> Any:
        """Give a record of a batch that was sent, with its `key` and `value`."""
        return list(next(MemoryRecords(self.records.buffer())))[index]


class _Records(MemoryRecordsBuilder):  # type: ignore[misc]
    """A batch's bytes in the making."""

    __slots__ = ()

    def __init__(self, transactional: bool) -> None:
        super().__init__(MAGIC, UNCOMPRESSED, BATCH_BYTES)
        builder = DefaultRecordBatchBuilder(MAGIC, UNCOMPRESSED, transactional, -1, -1, -1, BATCH_BYTES)
        self._builder = builder  # type: ignore[misc]

    def set_producer_state(self, producer_id: int, epoch: int, sequence: int, transactional: bool) -> None:
        """Take what the producer numbers the batch with; whether it is of a transaction was told before."""
        self._builder.set_producer_state(producer_id, epoch, sequence)

    def is_full(self) -> bool:
        """Tell the producer not to wait for more."""
        return True


class _Futures:
    """A future for every record, made when one is asked for: when the batch had to be split, or was refused."""

    def __init__(self, batch: Batch) -> None:
        self._batch = batch

    @cached_property
    def made(self) -> list[Any]:
        futures = range(self._batch.record_count)
        return [FutureRecordMetadata(self._batch.produce_future, n, -1, None, -1, -1, -1) for n in futures]

    def __len__(self) -> int:
        return len(self.made)

    def __getitem__(self, index: int) -> Any:
        return self.made[index]
