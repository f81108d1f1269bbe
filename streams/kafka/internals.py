"""kafka-python's private parts: all that the adapter uses, and the versions that were tested with them.

Owns the seams where our decoder replaces the consumer's and our batches enter the producer. Private parts may change in
any release, so a version that was not tested is refused when this module is imported. Does not know what records hold:
`decoding.py` and `encoding.py` do.
"""

import re
from collections.abc import Iterator
from importlib.metadata import version
from typing import Any

from kafka import TopicPartition
from kafka import errors as client

from streams.errors import ConfigError

TESTED, UNTESTED = (3, 0, 12), (3, 1)  # the first version tested, and the first that was not; as in pyproject.toml


def check(installed: str) -> None:
    """Refuse a version of kafka-python whose private parts were not tested.

    Raises:
        ConfigError: names the version installed and those tested.
    """
    numbers = tuple(int(number) for number in re.findall(r"\d+", installed)[:3])
    if not TESTED <= numbers < UNTESTED:
        tested = f">={'.'.join(map(str, TESTED))},<{'.'.join(map(str, UNTESTED))}"
        raise ConfigError(f"kafka-python {installed} was not tested with Shadowstream; install kafka-python{tested}")


check(version("kafka-python"))

from kafka.consumer.fetcher import Fetcher, IsolationLevel  # noqa: E402 another version may not have these
from kafka.net.sasl import get_sasl_mechanism  # noqa: E402
from kafka.producer.future import FutureRecordMetadata  # noqa: E402
from kafka.producer.producer_batch import ProducerBatch  # noqa: E402
from kafka.record.memory_records import MemoryRecords, MemoryRecordsBuilder  # noqa: E402
from kafka.util import Timer  # noqa: E402

__all__ = [
    "FetchedRecords",
    "IsolationLevel",
    "MemoryRecords",
    "QueuedBatch",
    "RecordsBuilder",
    "Timer",
    "get_sasl_mechanism",
]


class FetchedRecords(Fetcher.PartitionRecords):  # type: ignore[misc]
    """What one fetch brought of a partition; `unpack` makes its records, and moves `next_fetch_offset`."""

    next_fetch_offset: int
    bytes_read: int
    aborted_producer_ids: set[int]

    def unpack(self, topic: str, partition: int, data: bytes) -> Iterator[Any]:
        """Return the records in the bytes of a fetch, in order."""
        raise NotImplementedError

    @property
    def committed_only(self) -> bool:
        """Whether records of aborted transactions are left out."""
        return bool(self.isolation_level == IsolationLevel.READ_COMMITTED)

    def note_aborted(self, offset: int) -> None:
        """Add to `aborted_producer_ids` those whose aborted transaction begins at or before `offset`."""
        self._consume_aborted_transactions_up_to(offset)

    def _unpack_records(self, tp: Any, records: Any, *_: Any) -> Iterator[Any]:
        return self.unpack(tp.topic, tp.partition, bytes(records._buffer))


def unpack_with(consumer: Any, kind: type[FetchedRecords]) -> None:
    """Let a consumer create its records with `kind`."""
    consumer._fetcher.PartitionRecords = kind


class RecordsBuilder(MemoryRecordsBuilder):  # type: ignore[misc]
    """Builds a batch's bytes with aiokafka's `builder` instead of the client's own."""

    __slots__ = ()

    def __init__(self, magic: int, compression: int, size: int, builder: Any) -> None:
        super().__init__(magic, compression, size)
        self._builder = builder  # type: ignore[misc]

    def set_producer_state(self, producer_id: int, epoch: int, sequence: int, _: bool) -> None:
        """Set the producer's numbers of the batch; the builder already knows whether it is transactional."""
        self._builder.set_producer_state(producer_id, epoch, sequence)

    def is_full(self) -> bool:
        """Tell the producer not to wait for more."""
        return True


class QueuedBatch(ProducerBatch):  # type: ignore[misc]
    """A batch of one partition that we fill and a producer sends; `futures` is the list of its records' futures."""

    def __init__(self, topic: str, partition: int, records: RecordsBuilder, futures: Any) -> None:
        super().__init__(TopicPartition(topic, partition), records)
        self._record_futures = futures

    def hand(self, producer: Any) -> None:
        """Hand the batch to the producer, which sends it at once; no more records can be added.

        Raises:
            KafkaTimeoutError: the producer has ended.
        """
        tp, accumulator = self.topic_partition, producer._accumulator
        if producer._transaction_manager.is_transactional():
            producer._transaction_manager.maybe_add_partition_to_transaction(tp)
        with accumulator._tp_lock(tp):
            if accumulator._closed:
                raise client.KafkaTimeoutError("the producer has ended")
            accumulator._batches[tp].append(self)
            accumulator._incomplete.add(self)
        producer._sender.wakeup()


def record_future(batch: Any, index: int) -> Any:
    """Return the future of one record of a batch."""
    return FutureRecordMetadata(batch.produce_future, index, -1, None, -1, -1, -1)


def end_transaction(producer: Any, how: str, timeout_ms: int) -> None:
    """Commit or abort (`how`: "begin_commit", "begin_abort"); the public methods never give up on a dead broker.

    Raises:
        KafkaTimeoutError: no answer came in time.
        KafkaError: the broker refuses.
    """
    result = getattr(producer._transaction_manager, how)()
    producer._sender.wakeup()
    if not result.wait(timeout_ms):
        raise client.KafkaTimeoutError(f"no answer to {how} in {timeout_ms} ms")
