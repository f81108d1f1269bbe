"""Fetched bytes into records: our decoding returns what the client's own does, for any batches."""

import struct
from collections.abc import Sequence
from typing import Any

import pytest
from aiokafka.errors import CorruptRecordException
from hypothesis import given
from hypothesis import strategies as st
from kafka import TopicPartition
from kafka.consumer.fetcher import Fetcher, IsolationLevel
from kafka.record.memory_records import MemoryRecords, MemoryRecordsBuilder

from streams.kafka.reading.decoding import Records, event_time
from streams.moments import UNREADABLE_MS

TP = TopicPartition("t", 3)
GZIP, SNAPPY, LZ4, ZSTD = 1, 2, 3, 4
maybe_bytes = st.none() | st.binary(max_size=300)
headers = st.lists(st.tuples(st.sampled_from(["t", "reason", "é"]), st.binary(max_size=5) | st.just(b"17")), max_size=3)
messages = st.lists(st.tuples(st.integers(0, 1 << 45), maybe_bytes, maybe_bytes, headers), min_size=1, max_size=5)
batches = st.lists(st.tuples(messages, st.sampled_from([0, GZIP, SNAPPY, LZ4, ZSTD])), max_size=4)


def packed(made: Sequence[tuple[Any, int]], magic: int = 2) -> bytes:
    """Return the bytes of a part of a log: batches one after the other, from offset 0."""
    out, offset = bytearray(), 0
    for rows, codec in made:
        builder = MemoryRecordsBuilder(magic, codec, 1 << 20)
        for t_ms, key, value, given_headers in rows:
            builder.append(t_ms, key, value, given_headers)
        builder.close()
        part = bytearray(builder.buffer())
        struct.pack_into(">q", part, 0, offset)
        out += part
        offset += len(rows)
    return bytes(out)


def unpacked(kind: Any, data: bytes, start: int, most: int) -> tuple[list[Any], list[int]]:
    """Take all in pieces; return the records and the next offset after each piece."""
    part = kind(start, TP, MemoryRecords(data), isolation_level=IsolationLevel.READ_COMMITTED)
    records: list[Any] = []
    at: list[int] = []
    while part:
        records += part.take(most)
        at.append(part.next_fetch_offset)
    return records, at


def same(data: bytes, start: int, most: int) -> None:
    ours, positions = unpacked(Records, data, start, most)
    theirs, their_positions = unpacked(Fetcher.PartitionRecords, data, start, most)
    assert positions == their_positions
    assert [(r.topic, r.partition, r.offset, r.timestamp_ms, r.key, r.value, r.headers) for r in ours] == [
        ("t", 3, r.offset, written(r), r.key, r.value, tuple(r.headers)) for r in theirs
    ]
    assert [r.t_ms for r in ours] == [event_time(written(r), r.headers) for r in theirs]


def written(record: Any) -> int:
    """Return a record's timestamp, which the oldest format lacks."""
    return -1 if record.timestamp is None else int(record.timestamp)


@given(batches, st.data(), st.integers(1, 7))
def test_it_gives_what_the_clients_own_decoding_gives(made: Any, data: st.DataObject, most: int) -> None:
    count = sum(len(rows) for rows, _ in made)
    same(packed(made), data.draw(st.integers(0, max(count - 1, 0))), most)


@pytest.mark.parametrize("magic", [0, 1])
def test_batches_of_the_old_formats(magic: int) -> None:
    same(packed([([(7, b"k", b"v", [])], 0), ([(9, None, b"w", [])], 0)], magic), 0, 1)


@given(messages, st.data())
def test_a_flipped_byte_is_seen(rows: Any, data: st.DataObject) -> None:
    whole = bytearray(packed([(rows, 0)]))
    whole[data.draw(st.integers(17, len(whole) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    with pytest.raises(CorruptRecordException):
        unpacked(Records, bytes(whole), 0, 10)


@pytest.mark.parametrize(
    ("headers", "t_ms"),
    [
        ([], 5),
        ([("x", b"9")], 5),
        ([("t", None)], 5),
        ([("t", b"17")], 17),
        ([("t", b"1"), ("t", b"2")], 2),
        ([("t", b"2013-02-04T19:46:40.123+02:00")], 1_360_000_000_123),
        ([("t", b"1360000000")], UNREADABLE_MS),
        ([("t", b"-1")], UNREADABLE_MS),
        ([("t", b"")], UNREADABLE_MS),
        ([("t", b"1.5")], UNREADABLE_MS),
        ([("t", b"2013-02-04T19:46:40")], UNREADABLE_MS),
        ([("t", b"\xff")], UNREADABLE_MS),
        ([("t", b"9" * 10_000)], UNREADABLE_MS),
    ],
)
def test_the_header_t_is_the_event_time(headers: list[tuple[str, bytes | None]], t_ms: int) -> None:
    assert event_time(5, headers) == t_ms
