"""Partitions and polled records as the rest of the project sees them.

Owns their types, and the checksum by which a record is recognized. Knows no client library.
"""

import zlib
from collections.abc import Iterable
from typing import Any, NamedTuple

from streams.events import Record


class Tp(NamedTuple):
    """One partition of a topic."""

    topic: str
    partition: int


def tp_name(tp: Iterable[Any]) -> str:
    """Return a partition's name, "topic:partition": Kafka allows no colon in a topic."""
    return ":".join(map(str, tp))


def tp_of(name: str) -> Tp:
    """Return the partition of a name."""
    topic, _, number = name.rpartition(":")
    return Tp(topic, int(number))


class Rejected(NamedTuple):
    """A range of offsets, from `start` to before `end`, whose bytes could not be decoded."""

    start: int
    end: int
    reason: str


class Polled(NamedTuple):
    """What one poll took from a partition: the offsets from `start` to before `end`, and their records.

    Offsets without a record are holes (transaction markers, compaction), except in the `rejected` ranges.
    """

    tp: Tp
    start: int
    end: int
    records: list[Record]
    rejected: list[Rejected]


def crc(record: Record) -> int:
    """Return the checksum by which a record is recognized: CRC-32 over timestamp, key and value."""
    head = b"%d\0%d\0" % (record.timestamp_ms, -1 if record.key is None else len(record.key))
    return zlib.crc32(record.value or b"", zlib.crc32(head + (record.key or b"")))
