"""Partitions, positions and records as the rest of the project sees them.

Owns their types and the checksum by which a record is known again. Knows no client library.
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


class Polled(NamedTuple):
    """What one poll took from a partition: the positions before and after, and the records between.

    Positions without a record are holes (transaction markers, compaction), except the `rejected` ranges (from, to,
    reason), whose bytes could not be decoded.
    """

    tp: Tp
    start: int
    end: int
    records: list[Record]
    rejected: list[tuple[int, int, str]]


def crc(record: Record) -> int:
    """Give the checksum by which a record is known again: CRC-32 over timestamp, key and value."""
    place = b"%d\0%d\0" % (record.timestamp_ms, -1 if record.key is None else len(record.key))
    return zlib.crc32(record.value or b"", zlib.crc32(place + (record.key or b"")))
