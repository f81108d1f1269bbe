"""Dead letters: what could not be read, kept with its reason, position and bytes, and brought back after a fix.

Owns the letter's form, and the mark that says that a position was replayed. Does not know who asks. A letter is
acknowledged by the broker before anyone counts it: a crash between doubles a letter, never loses it. The topic is a
log: a mark is one more record under the letter's key.
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

LETTER_BYTES = 1 << 16  # are kept of a refused record's value, of its key, and of its headers
REASON_CHARS = 2_000
HEADER = "header:"  # before the names of the refused record's own headers
REPLAYED = "replayed"
VALUES = re.compile(r"'[^']*'|\"[^\"]*\"|-?\d[\d.]*")  # in a reason
TOGETHER = 200  # letters replayed in one transaction


class Letter(NamedTuple):
    """A refused range of positions (from, to), why, and its record where the bytes could be read."""

    tp: Tp
    start: int
    end: int
    reason: str
    record: Record | None


def reason_of(wrong: Exception) -> str:
    """Say why a record was refused: a reader's own words, or the mistake that it made."""
    return str(wrong) if isinstance(wrong, MalformedEvent) else f"{type(wrong).__name__}: {wrong}"


class DeadLetters:
    """Writes letters to partition 0 of a topic, keyed by "topic/partition/offset"."""

    def __init__(self, sink: Sink, topic: str) -> None:
        self._sink, self._tp = sink, Tp(topic, 0)

    def put(self, letters: Iterable[Letter]) -> None:
        """Queue letters; only `flush` tells whether they were written."""
        for tp, start, end, reason, record in letters:
            told = [("reason", reason[:REASON_CHARS].encode(errors="replace"))]
            value, t_ms = None, 0
            if record:
                value, t_ms = record.value and record.value[:LETTER_BYTES], record.t_ms
                told += _original(record)
            if end > start + 1:
                told.append(("end", b"%d" % end))
            place = f"{tp.topic}/{tp.partition}/{start}".encode()
            self._sink.send(self._tp, key=place, value=value, t_ms=t_ms, headers=told)

    def flush(self) -> None:
        """Wait for the broker's word on each."""
        self._sink.flush()


class Kept(NamedTuple):
    """A letter as it is read: `record` is what it keeps of the refused record (None: its bytes could not be read).

    `size` is the whole value's, -1 if there was none; `cut`: not all of it was kept, and `crc` is the whole record's;
    `at_ms` is when the letter was written.
    """

    place: str
    tp: Tp
    start: int
    end: int
    reason: str
    at_ms: int
    record: Record | None = None
    size: int = -1
    crc: int = 0
    cut: bool = False


class Position(NamedTuple):
    """What is known of one refused position: its newest letter, how many there are, and whether it was replayed."""

    letter: Kept
    copies: int
    replayed: bool


def positions(found: Iterable[Record]) -> dict[str, Position]:
    """Gather the records of the dead letters' topic by position; letters repeat after a crash."""
    letters: dict[str, Position] = {}
    marks: set[str] = set()
    for record in found:
        if REPLAYED in dict(record.headers):
            marks.add((record.key or b"").decode())
        else:
            letter = read(record)
            copies = letters[letter.place].copies if letter.place in letters else 0
            letters[letter.place] = Position(letter, copies + 1, replayed=False)
    return {place: at._replace(replayed=place in marks) for place, at in letters.items()}


def read(record: Record) -> Kept:
    """Read a letter."""
    headers, place = dict(record.headers), (record.key or b"").decode()
    topic, partition, offset = place.rsplit("/", 2)
    tp, start = Tp(topic, int(partition)), int(offset)
    own = tuple((key[len(HEADER) :], value) for key, value in record.headers if key.startswith(HEADER))
    letter = Kept(place, tp, start, int(headers.get("end", start + 1)), headers["reason"].decode(), record.timestamp_ms)
    if "record" not in headers:
        return letter
    said = _said.decode(headers["record"])
    kept = Record(topic, tp.partition, start, said.timestamp_ms, record.t_ms, headers.get("key"), record.value, own)
    return letter._replace(record=kept, size=said.bytes, crc=said.crc, cut=said.cut)


def reasons(found: Iterable[Position]) -> dict[str, int]:
    """Count positions by kind of reason, the most frequent first; what differs from record to record is left out."""
    counts: Counter[str] = Counter()
    for at in found:
        counts[VALUES.sub("…", at.letter.reason)] += at.letter.end - at.letter.start
    return dict(counts.most_common())


def places(found: Iterable[Position]) -> set[str]:
    """Give every refused position, also those within ranges."""
    return {
        f"{at.letter.tp.topic}/{at.letter.tp.partition}/{offset}"
        for at in found
        for offset in range(at.letter.start, at.letter.end)
    }


class Revival(NamedTuple):
    """What became of a replay: the positions published again, and those that could not be, each with the reason."""

    done: list[str]
    refused: list[tuple[str, str]]


def replay(letters: Sequence[Kept], dead: str, sink: Sink, reread: Callable[[Tp, int], Record | None]) -> Revival:
    """Publish the original records again where they were, and mark their positions as replayed: both or none.

    `sink` has a transactional id; `reread` gives the record of a position while its topic still holds it: a letter that
    was cut needs that. Where a broker shows aborted transactions a record may come without its mark, never a mark
    without its record.
    """
    whole, refused = [], []
    for letter in letters:
        record = _whole(letter, reread)
        if isinstance(record, str):
            refused.append((letter.place, record))
        else:
            whole.append((letter, record))
    waiting = iter(whole)
    while part := list(islice(waiting, TOGETHER)):
        with sink.transaction():
            for letter, record in part:
                headers = [pair for pair in record.headers if pair[0] not in ("t", REPLAYED)]
                headers.append((REPLAYED, letter.place.encode()))
                sink.send(letter.tp, key=record.key, value=record.value, t_ms=letter_time(letter), headers=headers)
            sink.flush()
            for letter, _ in part:
                mark = [(REPLAYED, b"1")]
                sink.send(Tp(dead, 0), key=letter.place.encode(), value=b"", t_ms=letter_time(letter), headers=mark)
    return Revival([letter.place for letter, _ in whole], refused)


def letter_time(letter: Kept) -> int:
    """Give the event time of the refused record; 0 where it could not be read."""
    return letter.record.t_ms if letter.record else 0


def _whole(letter: Kept, reread: Callable[[Tp, int], Record | None]) -> Record | str:
    """Give the refused record with all its bytes, or say why there is none."""
    if letter.record is None:
        return "its bytes could not be read, so there is no record to publish again"
    if not letter.cut:
        return letter.record
    found = reread(letter.tp, letter.start)
    if found is None or crc(found) != letter.crc:
        gone = "is not there any more" if found is None else "holds another record now"
        return f"the letter keeps {LETTER_BYTES} bytes of {letter.size}, and offset {letter.start} {gone}"
    return found


class _Said(msgspec.Struct, omit_defaults=True):
    """What a letter says of a record beside its value, key and headers; see `Kept`."""

    timestamp_ms: int
    bytes: int
    crc: int = 0
    cut: bool = False


_said = msgspec.json.Decoder(_Said)


def _original(record: Record) -> list[tuple[str, bytes]]:
    """Give what a letter keeps of a record beside its value, in few headers."""
    value, key, headers = record.value, record.key, record.headers
    size = -1 if value is None else len(value)
    own = list(_fitting(headers)) if headers else []
    cut = size > LETTER_BYTES or len(key or b"") > LETTER_BYTES or len(own) < len(headers)
    kept = [("record", encode(_Said(record.timestamp_ms, size, crc(record) if cut else 0, cut)))]
    if key is not None:
        kept.append(("key", key[:LETTER_BYTES]))
    return kept + [(HEADER + name, value) for name, value in own] if own else kept


def _fitting(headers: Sequence[tuple[str, bytes]]) -> Iterator[tuple[str, bytes]]:
    room = LETTER_BYTES
    for name, value in headers:
        room -= len(name) + len(value or b"")
        if room < 0:
            return
        yield name, value
