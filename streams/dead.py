"""Dead letters: records that could not be read, kept with reason, position and bytes, and published again after a fix.

Owns the form of a letter, and the mark of a position that was replayed. The broker acknowledges a letter before a step
counts it: a crash in between may write a letter twice, but never loses one. A position is the text
"topic/partition/offset", and the key of its letters; a mark is one more record with that key.
"""

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from typing import NamedTuple

import msgspec

from streams.errors import MalformedEvent
from streams.events import Record, encode
from streams.kafka import Sink, Tp, crc
from streams.texts import UNREADABLE_MS

LETTER_BYTES = 1 << 16  # at most so many are kept of a refused record's value, of its key, and of its headers
REASON_CHARS = 2_000
HEADER = "header:"  # prefix of the names of the refused record's own headers
REPLAYED = "replayed"
# what differs between two reasons of one kind: quoted values and numbers, but not names, nor what would be right
KEPT = r"(?:field|header) '[^']*'|key\('[^']*'|header\('[^']*'(?:, '[^']*')?|t_unit = '[^']*'|UTF-8|RFC 3339|ISO 8601"
VALUES = re.compile(rf"({KEPT})|'[^']*'|\"[^\"]*\"|-?\d[\d.]*")
TRANSACTION_LETTERS = 200  # replayed in one transaction


class Letter(NamedTuple):
    """A refused range of offsets, from `start` to before `end`; `record` is None where the bytes could not be read."""

    tp: Tp
    start: int
    end: int
    reason: str
    record: Record | None


def reason_of(wrong: Exception) -> str:
    """Return why a record was refused: the text of a `MalformedEvent`, or another error's type and text."""
    return str(wrong) if isinstance(wrong, MalformedEvent) else f"{type(wrong).__name__}: {wrong}"


class DeadLetters:
    """Writes letters to partition 0 of a topic, keyed by position."""

    def __init__(self, sink: Sink, topic: str) -> None:
        self._sink, self._tp = sink, Tp(topic, 0)

    def put(self, letters: Iterable[Letter]) -> None:
        """Queue letters; only `flush` ensures that they were written."""
        for tp, start, end, reason, record in letters:
            headers = [("reason", reason[:REASON_CHARS].encode(errors="replace"))]
            value, t_ms = None, 0
            if record:
                value, t_ms = record.value and record.value[:LETTER_BYTES], record.t_ms
                headers += _original(record)
            if end > start + 1:
                headers.append(("end", b"%d" % end))
            key = f"{tp.topic}/{tp.partition}/{start}".encode()
            self._sink.send(self._tp, key=key, value=value, t_ms=t_ms, headers=headers)

    def flush(self) -> None:
        """Wait until the broker has acknowledged every letter."""
        self._sink.flush()


class StoredLetter(NamedTuple):
    """A letter as read from its topic: `record` is what it keeps of the refused record (None: that could not be read).

    `size` is the length of the whole value, -1 where there was none. `cut` says that not all of the record was kept;
    then `crc` is the checksum of the whole. `at_ms` is when the letter was written.
    """

    position: str
    tp: Tp
    start: int
    end: int
    reason: str
    at_ms: int
    record: Record | None = None
    size: int = -1
    crc: int = 0
    cut: bool = False


class Refusal(NamedTuple):
    """A refused position: its newest letter, how many letters it has, and whether it was replayed."""

    letter: StoredLetter
    copies: int
    replayed: bool


def refusals(records: Iterable[Record]) -> dict[str, Refusal]:
    """Return the refusals in the records of the dead letters' topic, by position; a crash may have doubled a letter."""
    by_position: dict[str, Refusal] = {}
    marks: set[str] = set()
    for record in records:
        if REPLAYED in dict(record.headers):
            marks.add((record.key or b"").decode())
        else:
            letter = read(record)
            earlier = by_position.get(letter.position)
            by_position[letter.position] = Refusal(letter, earlier.copies + 1 if earlier else 1, replayed=False)
    return {position: one._replace(replayed=position in marks) for position, one in by_position.items()}


def read(record: Record) -> StoredLetter:
    """Return the letter in a record."""
    headers, position = dict(record.headers), (record.key or b"").decode()
    topic, partition, offset = position.rsplit("/", 2)
    tp, start = Tp(topic, int(partition)), int(offset)
    own = tuple((key[len(HEADER) :], value) for key, value in record.headers if key.startswith(HEADER))
    end, reason = int(headers.get("end", start + 1)), headers["reason"].decode()
    letter = StoredLetter(position, tp, start, end, reason, record.timestamp_ms)
    if "record" not in headers:
        return letter
    about = _read_about(headers["record"])
    kept = Record(topic, tp.partition, start, about.timestamp_ms, record.t_ms, headers.get("key"), record.value, own)
    return letter._replace(record=kept, size=about.bytes, crc=about.crc, cut=about.cut)


def reasons(refused: Iterable[Refusal]) -> dict[str, int]:
    """Count positions by kind of reason, the most frequent first; what differs from record to record is left out."""
    counts: Counter[str] = Counter()
    for one in refused:
        kind = VALUES.sub(lambda value: value[1] or "…", one.letter.reason)
        counts[kind] += one.letter.end - one.letter.start
    return dict(counts.most_common())


def refused_positions(refused: Iterable[Refusal]) -> set[str]:
    """Return every refused position, each offset of a range by itself."""
    return {
        f"{one.letter.tp.topic}/{one.letter.tp.partition}/{offset}"
        for one in refused
        for offset in range(one.letter.start, one.letter.end)
    }


class Replayed(NamedTuple):
    """The positions that were published again, and those that cannot be, each with the reason."""

    done: list[str]
    refused: list[tuple[str, str]]


Reread = Callable[[Tp, int], Record | None]


def replay(letters: Sequence[StoredLetter], dead_topic: str, sink: Sink, reread: Reread) -> Replayed:
    """Publish the original records again in their partitions, and mark their positions as replayed: both or neither.

    `sink` has a transactional id. `reread` returns the record at an offset while its topic still holds it, which a
    letter that was cut needs. A broker that shows aborted transactions may show a record without its mark, but never a
    mark without its record.
    """
    whole, refused = [], []
    for letter in letters:
        record = _whole(letter, reread)
        if isinstance(record, str):
            refused.append((letter.position, record))
        else:
            whole.append((letter, record))
    waiting = iter(whole)
    while part := list(islice(waiting, TRANSACTION_LETTERS)):
        with sink.transaction():
            for letter, record in part:
                # the sink writes `t`; one that is no time stays as it was, and being the last, it counts
                again = (REPLAYED,) if record.t_ms == UNREADABLE_MS else ("t", REPLAYED)
                headers = [pair for pair in record.headers if pair[0] not in again]
                headers.append((REPLAYED, letter.position.encode()))
                sink.send(letter.tp, key=record.key, value=record.value, t_ms=letter_time(letter), headers=headers)
            sink.flush()
            for letter, _ in part:
                mark = [(REPLAYED, b"1")]
                key, t_ms = letter.position.encode(), letter_time(letter)
                sink.send(Tp(dead_topic, 0), key=key, value=b"", t_ms=t_ms, headers=mark)
    return Replayed([letter.position for letter, _ in whole], refused)


def letter_time(letter: StoredLetter) -> int:
    """Return the event time of the refused record in ms; 0 where it could not be read."""
    return letter.record.t_ms if letter.record else 0


def _whole(letter: StoredLetter, reread: Reread) -> Record | str:
    """Return the refused record with all its bytes, or the reason why that is impossible."""
    if letter.record is None:
        return "its bytes could not be read, so there is no record to publish again"
    if not letter.cut:
        return letter.record
    original = reread(letter.tp, letter.start)
    if original is None or crc(original) != letter.crc:
        gone = "is not in the topic any more" if original is None else "has another record now"
        return f"the letter keeps {LETTER_BYTES} bytes of {letter.size}, and offset {letter.start} {gone}"
    return original


class _About(msgspec.Struct, omit_defaults=True):
    """What a letter keeps of a record besides its value, key and headers; see `StoredLetter`."""

    timestamp_ms: int
    bytes: int
    crc: int = 0
    cut: bool = False


_read_about = msgspec.json.Decoder(_About).decode


def _original(record: Record) -> list[tuple[str, bytes]]:
    """Return the headers in which a letter keeps a record's key, headers and sizes."""
    value, key, headers = record.value, record.key, record.headers
    size = -1 if value is None else len(value)
    own = list(_fitting(headers)) if headers else []
    cut = size > LETTER_BYTES or len(key or b"") > LETTER_BYTES or len(own) < len(headers)
    kept = [("record", encode(_About(record.timestamp_ms, size, crc(record) if cut else 0, cut)))]
    if key is not None:
        kept.append(("key", key[:LETTER_BYTES]))
    return kept + [(HEADER + name, value) for name, value in own] if own else kept


def _fitting(headers: Sequence[tuple[str, bytes]]) -> Iterator[tuple[str, bytes]]:
    """Yield the first headers, as many as fit into `LETTER_BYTES`."""
    left_bytes = LETTER_BYTES
    for name, value in headers:
        left_bytes -= len(name) + len(value or b"")
        if left_bytes < 0:
            return
        yield name, value
