"""Records into batches: the bytes are those that the client's own builder makes, and a split loses no record."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from kafka import errors as client
from kafka.producer.producer_batch import ProducerBatch
from kafka.producer.record_accumulator import RecordAccumulator
from kafka.record.memory_records import MemoryRecordsBuilder
from kafka.util import Timer

from streams.kafka.records import Tp
from streams.kafka.writing.encoding import BATCH_BYTES, Batch

TP = Tp("t", 3)
maybe_bytes = st.none() | st.binary(max_size=300)
headers = st.lists(st.tuples(st.sampled_from(["t", "reason", "é"]), st.binary(max_size=9)), max_size=3)
rows = st.lists(st.tuples(st.integers(0, 1 << 45), maybe_bytes, maybe_bytes, headers), min_size=1, max_size=9)


def written(records: MemoryRecordsBuilder) -> bytes:
    """Return the batch's bytes without the partition leader's epoch (-1 or 0), which a broker sets."""
    data = records.buffer()
    return bytes(data[:12] + data[16:])


@given(rows, st.integers(0, 1 << 40), st.integers(0, 1 << 14), st.integers(0, 1 << 30), st.booleans())
def test_the_bytes_are_the_clients_own(made: list[Any], producer: int, epoch: int, first: int, within: bool) -> None:
    ours, theirs = Batch(TP, transactional=within), MemoryRecordsBuilder(2, 0, BATCH_BYTES)
    assert all(ours.append(*row) for row in made)
    for row in made:
        theirs.append(*row)
    for records in (ours.records, theirs):
        records.set_producer_state(producer, epoch, first, within)
        records.close()
    assert written(ours.records) == written(theirs)
    assert (ours.producer_id, ours.producer_epoch, ours.base_sequence) == (producer, epoch, first)
    assert ours.record_count == len(made)
    assert (ours.record(len(made) - 1).key, ours.record(len(made) - 1).value) == made[-1][1:3]


def test_a_full_batch_says_so() -> None:
    batch = Batch(TP, transactional=False)
    sizes = [batch.append(1, None, bytes(BATCH_BYTES // 3), []) for _ in range(5)]
    assert sizes == [True, True, False, False, False]
    assert batch.record_count == 2


class TestSplit:
    """A batch that the broker finds too large, split by the client itself until every record has an answer."""

    def parts(self, accumulator: RecordAccumulator, count: int) -> tuple[Batch, list[ProducerBatch]]:
        batch = Batch(TP, transactional=False)
        for n in range(count):
            batch.append(1, b"k%d" % n, b"v", [])
        batch.records.close()
        accumulator.split_and_reenqueue(batch)
        return batch, list(accumulator._batches[batch.topic_partition])

    def test_the_end_is_the_last_parts(self) -> None:
        batch, (head, tail) = self.parts(RecordAccumulator(), 5)
        head.complete(70, -1)
        tail.complete(90, -1)
        assert batch.end(Timer(1_000)) == 92

    def test_the_record_that_was_not_taken_is_named(self) -> None:
        batch, (head, tail) = self.parts(RecordAccumulator(), 5)
        head.complete(70, -1)
        tail.complete_exceptionally(client.MessageSizeTooLargeError(), lambda _: client.MessageSizeTooLargeError())
        with pytest.raises(client.MessageSizeTooLargeError) as raised:
            batch.end(Timer(1_000))
        assert batch.record(raised.value.index).key == b"k3"

    def test_no_word_is_no_end(self) -> None:
        batch, (head, _) = self.parts(RecordAccumulator(), 5)
        head.complete(70, -1)
        with pytest.raises(client.KafkaTimeoutError):
            batch.end(Timer(10))
