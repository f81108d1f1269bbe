"""The form of a dead letter: what its Kafka record has in key, value and headers, written and read.

Owns how much of a refused record is kept: as much as its topic takes, at most `LETTER_BYTES` of value, key and headers
each. Knows no broker.
"""

import re
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import msgspec

from streams.errors import MalformedEvent
from streams.events import Record, encode
from streams.kafka.records import Tp, crc
from streams.offsets import Offsets

LETTER_BYTES = 1 << 16  # at most so many are kept of a refused record's value, of its key, and of its headers
LEAST_TOPIC_BYTES = 2_048  # what a topic of letters must take: a position, the longest names, and a part of the rest
FRAME_BYTES = 1_024  # of a letter: position, sizes, the names of its headers, and what Kafka adds
REASON_CHARS = 2_000
HEADER = "header:"  # prefix of the names of the refused record's own headers
REPLAYED = "replayed"
# what differs between two reasons of one kind: quoted values and numbers, but not names, nor what would be right
KEPT = (
    r"(?:field|header) '[^']*'|key\('[^']*'|header\('[^']*'(?:, '[^']*')?|t_unit = '[^']*'|UTF-8|RFC 3339|ISO 8601"
    r"|(?:join|output)\.\w+ = '\w+'"
)
VALUES = re.compile(rf"({KEPT})|'[^']*'|\"[^\"]*\"|-?\d[\d.]*")

Headers = list[tuple[str, bytes]]


class Letter(NamedTuple):
    """A refused range of offsets, from `start` to before `end`; `record` is None where the bytes could not be read."""

    tp: Tp
    start: int
    end: int
    reason: str
    record: Record | None


class StoredLetter(NamedTuple):
    """A letter as read from its topic: `record` is what it keeps of the refused record (None: that could not be read).

    `size` is the length of the whole value, -1 where there was none. `cut` says that not all of the record was kept;
    then `crc` is the checksum of the whole. `at_ms` is when the letter was written. A letter that sums up has
    `offsets`, all of one kind of reason, the first of which is its position.
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
    offsets: Offsets | None = None

    @property
    def covers(self) -> Offsets:
        """The offsets that it stands for."""
        return self.offsets or Offsets.of((self.start, self.end))


def position_of(tp: Tp, offset: int) -> str:
    """Return a position as text."""
    return f"{tp.topic}/{tp.partition}/{offset}"


def place_of(position: str) -> tuple[Tp, int]:
    """Return the partition and the offset of a position.

    Raises:
        ValueError: it is none.
    """
    topic, partition, offset = position.rsplit("/", 2)
    return Tp(topic, int(partition)), int(offset)


def reason_of(wrong: BaseException) -> str:
    """Return why a record was refused: the text of a `MalformedEvent`, or another error's type and text."""
    return str(wrong) if isinstance(wrong, MalformedEvent) else f"{type(wrong).__name__}: {wrong}"


def kind_of(reason: str) -> str:
    """Return a reason without what differs from record to record."""
    return VALUES.sub(lambda value: value[1] or "…", reason)


def letter_time(letter: StoredLetter) -> int:
    """Return the event time of the refused record in ms; 0 where it could not be read."""
    return letter.record.t_ms if letter.record else 0


def write(letter: Letter, most_bytes: int) -> tuple[bytes, bytes | None, int, Headers]:
    """Return a letter as key, value, event time and headers, cut to what its topic takes."""
    tp, start, end, reason, record = letter
    part = min(LETTER_BYTES, (most_bytes - FRAME_BYTES) // 4)
    headers: Headers = [("reason", reason[:REASON_CHARS].encode(errors="replace")[:part])]
    value, t_ms = None, 0
    if record:
        value, t_ms = record.value and record.value[:part], record.t_ms
        headers += _original(record, part)
    if end > start + 1:
        headers.append(("end", b"%d" % end))
    return position_of(tp, start).encode(), value, t_ms, headers


def write_sum(tp: Tp, reason: str, offsets: Offsets, most_bytes: int) -> Iterator[tuple[bytes, None, int, Headers]]:
    """Yield letters that sum up offsets: one, or several where a topic does not take one as large."""
    for part, text in pieces(offsets, most_bytes - FRAME_BYTES - len(reason.encode(errors="replace"))):
        headers = [
            ("reason", reason.encode(errors="replace")),
            ("end", b"%d" % (part.last + 1)),
            ("count", b"%d" % len(part)),
            ("offsets", text),
        ]
        yield position_of(tp, part.first).encode(), None, 0, headers


def pieces(offsets: Offsets, most_bytes: int) -> Iterator[tuple[Offsets, bytes]]:
    """Yield offsets as texts of at most so many bytes each, if there are two offsets in it."""
    text = offsets.pack()
    if len(text) <= most_bytes or len(offsets) == 1:
        yield offsets, text.encode()
        return
    for half in offsets.halves():
        yield from pieces(half, most_bytes)


def read(record: Record) -> StoredLetter:
    """Return the letter in a record."""
    headers, position = dict(record.headers), (record.key or b"").decode()
    tp, start = place_of(position)
    own = tuple((key[len(HEADER) :], value) for key, value in record.headers if key.startswith(HEADER))
    end, reason = int(headers.get("end", start + 1)), headers["reason"].decode(errors="replace")
    letter = StoredLetter(position, tp, start, end, reason, record.timestamp_ms)
    if "offsets" in headers:
        return letter._replace(offsets=Offsets.unpack(headers["offsets"]))
    if "record" not in headers:
        return letter
    about = _read_about(headers["record"])
    kept = Record(tp.topic, tp.partition, start, about.timestamp_ms, record.t_ms, headers.get("key"), record.value, own)
    return letter._replace(record=kept, size=about.bytes, crc=about.crc, cut=about.cut)


class _About(msgspec.Struct, omit_defaults=True):
    """What a letter keeps of a record besides its value, key and headers; see `StoredLetter`."""

    timestamp_ms: int
    bytes: int
    crc: int = 0
    cut: bool = False


_read_about = msgspec.json.Decoder(_About).decode


def _original(record: Record, part: int) -> Headers:
    """Return the headers in which a letter keeps a record's key, headers and sizes."""
    value, key, headers = record.value, record.key, record.headers
    size = -1 if value is None else len(value)
    own = list(_fitting(headers, part)) if headers else []
    cut = size > part or len(key or b"") > part or len(own) < len(headers)
    kept = [("record", encode(_About(record.timestamp_ms, size, crc(record) if cut else 0, cut)))]
    if key is not None:
        kept.append(("key", key[:part]))
    return kept + [(HEADER + name, value) for name, value in own] if own else kept


def _fitting(headers: Sequence[tuple[str, bytes]], left_bytes: int) -> Iterator[tuple[str, bytes]]:
    """Yield the first headers, as many as fit."""
    for name, value in headers:
        left_bytes -= len(HEADER) + len(name.encode()) + len(value or b"") + 4  # Kafka's lengths of both
        if left_bytes < 0:
            return
        yield name, value
