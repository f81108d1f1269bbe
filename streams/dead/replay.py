"""Publishes refused records again, each once, and marks their positions as replayed: both or neither.

Owns the transactions and the marks. A mark is one more record of the dead letters' topic, with a letter's key; one of a
letter that sums up has the offsets that were published.
"""

from collections.abc import Iterator, Sequence
from itertools import islice
from typing import NamedTuple, Protocol

from streams.dead.letters import FRAME_BYTES, REPLAYED, StoredLetter, letter_time, pieces, position_of
from streams.dead.refusals import Refusal
from streams.events import Record
from streams.kafka import Sink, Tp, crc
from streams.kafka.writing.sink import size_in_bytes
from streams.moments import UNREADABLE_MS
from streams.offsets import Offsets

TRANSACTION_LETTERS = 200  # replayed in one transaction


class Replayed(NamedTuple):
    """The positions that were published again, and those that cannot be, each with the reason."""

    done: list[str]
    refused: list[tuple[str, str]]


class Log(Protocol):
    """The topics of the refused records, while they still hold them."""

    def read(self, tp: Tp, offset: int) -> Record | None:
        """Return the record at an offset."""
        ...

    def read_all(self, tp: Tp, offsets: Offsets) -> Iterator[Record]:
        """Yield the records at these offsets that are still there."""
        ...


class _Original(NamedTuple):
    """A record to publish again, at its position."""

    tp: Tp
    offset: int
    record: Record
    t_ms: int


def replay(refused: Sequence[Refusal], dead_topic: str, sink: Sink, log: Log) -> Replayed:
    """Publish the original records again in their partitions, and mark their positions as replayed: both or neither.

    `sink` has a transactional id. What a letter does not keep is read again from `log`. A broker that shows aborted
    transactions may show a record without its mark, but never a mark without its record.
    """
    replayed = Replayed([], [])
    singles = iter([one for one in refused if one.letter.offsets is None])
    while part := list(islice(_whole(singles, replayed, sink, log), TRANSACTION_LETTERS)):
        _publish(part, dead_topic, sink, replayed)
    for one in refused:
        if one.letter.offsets is not None:
            _replay_sum(one, dead_topic, sink, log, replayed)
    return replayed


def _replay_sum(one: Refusal, dead_topic: str, sink: Sink, log: Log, replayed: Replayed) -> None:
    """Publish the records of a letter that sums up, as far as their topic still holds them."""
    letter, wanted = one.letter, one.letter.covers - one.again
    found = Offsets()
    originals = _sized(log.read_all(letter.tp, wanted), letter.tp, replayed, sink, found)
    while part := list(islice(originals, TRANSACTION_LETTERS)):
        _publish(part, dead_topic, sink, replayed, summed=True)
    if gone := wanted - found:
        many = f"{len(gone)} of the positions {gone.first} to {gone.last} that the letter sums up are"
        what = "it is" if len(gone) == 1 else many
        why = f"{what} not in the topic any more, or cannot be read; the letter keeps no bytes"
        replayed.refused.append((position_of(letter.tp, gone.first), why))


def _sized(records: Iterator[Record], tp: Tp, replayed: Replayed, sink: Sink, found: Offsets) -> Iterator[_Original]:
    for record in records:
        found.add(record.offset, record.offset + 1)
        if why := _too_large(record, tp, sink):
            replayed.refused.append((position_of(tp, record.offset), why))
        else:
            yield _Original(tp, record.offset, record, record.t_ms)


def _whole(refused: Iterator[Refusal], replayed: Replayed, sink: Sink, log: Log) -> Iterator[_Original]:
    """Yield the records that can be published again with all their bytes; note why others cannot."""
    for one in refused:
        letter = one.letter
        record = _original(letter, log)
        if not isinstance(record, str):
            record = _too_large(record, letter.tp, sink) or record
        if isinstance(record, str):
            replayed.refused.append((letter.position, record))
        else:
            yield _Original(letter.tp, letter.start, record, letter_time(letter))


def _original(letter: StoredLetter, log: Log) -> Record | str:
    """Return the refused record with all its bytes, or the reason why that is impossible."""
    if letter.record is None:
        return "its bytes could not be read, so there is no record to publish again"
    if not letter.cut:
        return letter.record
    original = log.read(letter.tp, letter.start)
    if original is None or crc(original) != letter.crc:
        gone = "is not in the topic any more" if original is None else "has another record now"
        kept = len(letter.record.value or b"")
        return f"the letter keeps {kept} bytes of {letter.size}, and offset {letter.start} {gone}"
    return original


def _too_large(record: Record, tp: Tp, sink: Sink) -> str | None:
    size, most = (
        size_in_bytes(record.key, record.value, _headers(record, tp, record.offset)),
        sink.limit_bytes(tp.topic),
    )
    if size <= most:
        return None
    return f"a record of {size} bytes, and at most {most} can be sent: kafka.max_request_bytes, or what the topic takes"


def _headers(record: Record, tp: Tp, offset: int) -> list[tuple[str, bytes]]:
    again = (REPLAYED,) if record.t_ms == UNREADABLE_MS else ("t", REPLAYED)  # a sink writes `t`; the last counts
    kept = [pair for pair in record.headers if pair[0] not in again]
    return [*kept, (REPLAYED, position_of(tp, offset).encode())]


def _publish(part: list[_Original], dead_topic: str, sink: Sink, replayed: Replayed, *, summed: bool = False) -> None:
    marks = Tp(dead_topic, 0)
    with sink.transaction():
        for tp, offset, record, t_ms in part:
            headers = _headers(record, tp, offset)
            sink.send(tp, key=record.key, value=record.value, t_ms=t_ms, headers=headers)
        sink.flush()
        for key, t_ms, headers in _marks(part, sink.limit_bytes(dead_topic), summed=summed):
            sink.send(marks, key=key, value=b"", t_ms=t_ms, headers=headers)
    replayed.done.extend(position_of(one.tp, one.offset) for one in part)


def _marks(
    part: list[_Original], most_bytes: int, *, summed: bool
) -> Iterator[tuple[bytes, int, list[tuple[str, bytes]]]]:
    """Yield the key, time and headers of the marks of records that were published."""
    if not summed:
        yield from ((position_of(one.tp, one.offset).encode(), one.t_ms, [(REPLAYED, b"1")]) for one in part)
        return
    offsets = Offsets.of(*((one.offset, one.offset + 1) for one in part))
    for some, text in pieces(offsets, most_bytes - FRAME_BYTES):
        yield position_of(part[0].tp, some.first).encode(), part[0].t_ms, [(REPLAYED, b"1"), ("offsets", text)]
