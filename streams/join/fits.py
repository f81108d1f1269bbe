"""What the join and the reader of its samples can take of an event, so that the rest is refused where it is read.

Owns the bounds and the reasons: a refused event becomes a dead letter, before anything counts it. Does not know what
the samples' reader is. A sample that is made of events within these bounds fits.
"""

import re
from collections.abc import Callable
from json.encoder import encode_basestring_ascii as quoted
from operator import index
from typing import Any

import msgspec
from msgspec import Raw, Struct

from streams.errors import MalformedEvent
from streams.formats.plain import MOST_NESTED, TOO_DEEP
from streams.texts import why_not_json

ID_BYTES = 512  # the store keeps an id up to four times
ID_COST = 7  # at most so many bytes for each of an id's: six where JSON escapes it, and one in a record's key
MOST_BYTES = 64 << 20  # of a content, where only the store bounds it: its messages have 512 MiB
FRAME_BYTES = 512  # a sample's other fields, and what a Kafka record adds
LABEL_BYTES, NUMBER_BYTES = 1 << 16, 1_000  # of a sample's label, if a quarter of the sample is no less
MOST_SUMMED = 1e300
MOST_EXACT = 1 << 53  # whole numbers beyond are not all doubles
SHOWN = 80
FLAT_BYTES = 2 * MOST_NESTED  # of JSON that cannot be nested too deeply: a level has two brackets
STRINGS = re.compile(r'"(?:[^"\\]|\\.)*"')

_number: Callable[[bytes], float] = msgspec.json.Decoder(float).decode
_value = msgspec.json.Decoder().decode
_skip = msgspec.json.Decoder(Raw).decode


class Takes(Struct, frozen=True, kw_only=True):
    """What the samples' reader takes: contents and labels of so many bytes; `numbers` is the setting that wants them.

    >>> Takes(numbers="output.labels = 'number'").label(b'"n/a"')
    Traceback (most recent call last):
    streams.errors.MalformedEvent: output.labels = 'number' needs labels that are numbers, not "n/a"
    """

    content_bytes: int = MOST_BYTES
    label_bytes: int = MOST_BYTES
    numbers: str = ""

    @classmethod
    def within(cls, sample_bytes: int, *, numbers: str = "", labels: int = 1) -> "Takes":
        """Return what makes samples of at most so many bytes, of which each may hold so many `labels`."""
        label_bytes = min(NUMBER_BYTES if numbers else LABEL_BYTES, sample_bytes // 4)
        content_bytes = sample_bytes - FRAME_BYTES - label_bytes
        return cls(content_bytes=content_bytes, label_bytes=label_bytes // labels, numbers=numbers)

    def content(self, key: str, body: bytes) -> None:
        """Check a prediction's content, with its id.

        Raises:
            MalformedEvent: a sample with it would be too large.
        """
        size = len(body)
        if size + id_cost(key) > self.content_bytes:
            raise MalformedEvent(
                f"a prediction of {size:,} bytes: with its id and its outcome the sample would be too large; at most "
                f"{max(0, self.content_bytes - id_cost(key)):,} fit"
            )

    def label(self, body: bytes) -> None:
        """Check an outcome's label, which is one JSON value; where numbers are wanted, any bytes.

        Raises:
            MalformedEvent: it is too large, or not a number where numbers are wanted.
        """
        if len(body) > self.label_bytes:
            raise MalformedEvent(f"a label of {len(body):,} bytes: at most {self.label_bytes:,} fit into a sample")
        if not self.numbers:
            return
        try:
            value = _number(body)
        except (msgspec.DecodeError, RecursionError):
            raise _unfit(body, self.numbers, "numbers") from None
        if abs(value) >= MOST_EXACT and body.strip().lstrip(b"-").isdigit() and int(body) != value:
            raise MalformedEvent(
                f"{self.numbers} needs labels that a double holds exactly, not the whole number {_shown(body)}"
            )


def id_cost(key: str) -> int:
    """Return how many bytes an id takes in a sample and in the key of its record."""
    return len(quoted(key)) + len(key.encode())


def id_fault(length: int) -> str:
    """Return why an id of so many bytes is refused."""
    return f"an id has 1 to {ID_BYTES} bytes, this one {length}"


def whole(t_ms: Any) -> int:
    """Return a time that is not an int, but a whole number of another type.

    Raises:
        MalformedEvent: it is not.
    """
    try:
        if isinstance(t_ms, bool):
            raise TypeError
        return index(t_ms)
    except TypeError:
        raise MalformedEvent(f"the time must be a whole number of ms, not {_shown(repr(t_ms))}") from None


def check_summable(body: bytes) -> None:
    """Check a label that is to be summed.

    Raises:
        MalformedEvent: it is not a number, or too large.
    """
    try:
        summable = abs(_number(body)) <= MOST_SUMMED
    except (msgspec.DecodeError, RecursionError):
        summable = False
    if not summable:
        raise _unfit(body, "join.reduce = 'sum'", f"numbers up to {MOST_SUMMED:g}")


def check_content(body: bytes) -> None:
    """Check that a prediction's content is one JSON value that any parser reads.

    Raises:
        MalformedEvent: it is not.
    """
    try:
        _skip(body)
    except (msgspec.DecodeError, RecursionError) as wrong:
        raise MalformedEvent(f"the prediction is not one JSON value: {why_not_json(body, wrong)}") from None
    if len(body) > FLAT_BYTES:
        _check_depth(body, "the prediction")


def check_label(body: bytes) -> None:
    """Check that an outcome's label is one JSON value that any parser reads.

    Raises:
        MalformedEvent: it is not.
    """
    try:
        _value(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as wrong:
        raise MalformedEvent(
            f"the label is not one JSON value: {why_not_json(body, wrong)}; found {_shown(body)}"
        ) from None
    if len(body) > FLAT_BYTES:
        _check_depth(body, "the label")


def _check_depth(body: bytes, what: str) -> None:
    if body.count(b"[") + body.count(b"{") <= MOST_NESTED:
        return
    depth = 0
    for char in STRINGS.sub("", body.decode()):
        depth += (char in "[{") - (char in "]}")
        if depth > MOST_NESTED:
            raise MalformedEvent(f"{what} is {TOO_DEEP}")


def _unfit(body: bytes, setting: str, wanted: str) -> MalformedEvent:
    return MalformedEvent(f"{setting} needs labels that are {wanted}, not {_shown(body)}")


def _shown(value: bytes | str) -> str:
    return value[:SHOWN].decode(errors="replace") if isinstance(value, bytes) else value[:SHOWN]
