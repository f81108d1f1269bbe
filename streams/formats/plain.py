"""The one conversion of a format's value to a plain one, which JSON can hold: for body, id, time and label alike.

Owns what each type becomes: a time `Ms`, a decimal its exact number, a date, a time of day or a UUID its text, bytes
base64 text. Does not know how a format writes them.
"""

from base64 import b64encode
from collections.abc import Callable, Mapping, Sequence
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

import msgspec

from streams.errors import MalformedEvent
from streams.moments import EPOCH, epoch_ms
from streams.texts import SHOWN

MOST_NESTED = 128  # levels; a sample nests it deeper, and the limits of JSON parsers start at 500
TOO_DEEP = f"nested deeper than {MOST_NESTED} levels"
MOST_DIGITS = 308  # before the decimal point: readers of JSON take doubles
MOST_DECIMAL_BYTES = 1_024  # some 2,500 digits; a million of them would take seconds to write
DAY = timedelta(days=1)


class Ms(int):
    """A time in whole ms since 1970, UTC, of a type that knows its unit."""


def plain(value: Any, levels: int = MOST_NESTED) -> Any:
    """Return a decoded value in plain types; one of an unknown type is left as it is, and has no JSON form.

    Raises:
        MalformedEvent: it is nested too deeply.
    """
    kind = type(value)
    if kind in AS_THEY_ARE:
        return value
    if convert := CONVERSIONS.get(kind):
        return convert(value)
    if isinstance(value, Mapping):
        return {named(key): plain(item, deeper(levels)) for key, item in value.items()}
    if isinstance(value, Sequence):
        return [plain(item, deeper(levels)) for item in value]
    return value


def named(key: Any) -> str:
    """Return a map's key as the name in a JSON object: text as it is, other values as JSON writes them.

    Raises:
        MalformedEvent: it is a container.
    """
    if type(key) is str:
        return key
    value = plain(key)
    if type(value) is str:
        return value
    if isinstance(value, dict | list):
        raise MalformedEvent("a map has a list or a map as a key, for which JSON has no form")
    return encoded(value).decode()


def deeper(levels: int) -> int:
    """Return how many levels may still follow inside a container.

    Raises:
        MalformedEvent: none.
    """
    if not levels:
        raise MalformedEvent(TOO_DEEP)
    return levels - 1


def encoded(value: Any) -> bytes:
    """Return a plain value's JSON text; a number that is not finite becomes null.

    Raises:
        MalformedEvent: JSON has no form for a value.
    """
    try:
        return _encode(value)
    except (TypeError, ValueError, RecursionError) as wrong:
        raise MalformedEvent(f"the event has no JSON form: {wrong}") from None


def _number(value: Any) -> int:
    """Return the number that JSON shows for a type that it does not know."""
    if type(value) is Ms:
        return int(value)
    raise TypeError(f"{type(value).__name__} {str(value)[:SHOWN]}")


def base64(value: bytes) -> str:
    """Return bytes as base64 text."""
    return b64encode(value).decode()


def moment(value: int, in_a_ms: int) -> Ms:
    """Return a time since 1970, in a unit of which so many make a ms."""
    return Ms(value // in_a_ms)


def day(value: int) -> str:
    """Return the date so many days after 1970.

    Raises:
        MalformedEvent: it is not in the years 1 to 9999.
    """
    try:
        return (EPOCH + value * DAY).date().isoformat()
    except OverflowError:
        raise MalformedEvent(f"a date is {value} days after 1970: not in the years 1 to 9999") from None


def clock(value: int, in_a_second: int) -> str:
    """Return the time of day so many parts of a second after midnight.

    Raises:
        MalformedEvent: no day is so long.
    """
    if not 0 <= value < 86_400 * in_a_second:
        raise MalformedEvent(f"a time of day is {value} / {in_a_second} s after midnight: not within a day")
    return (EPOCH + timedelta(microseconds=value * (1_000_000 // in_a_second))).time().isoformat()


def decimal(value: bytes, scale: int) -> Decimal:
    """Return a decimal from its unscaled value, a big-endian number in two's complement; it is exact.

    Raises:
        MalformedEvent: it is larger than the numbers that readers of JSON know.
    """
    if len(value) > MOST_DECIMAL_BYTES:
        raise MalformedEvent(f"a decimal has {len(value):,} bytes; at most {MOST_DECIMAL_BYTES:,} are read")
    sign, digits, _ = Decimal(int.from_bytes(value, "big", signed=True)).as_tuple()
    number = Decimal((sign, digits, -scale))
    if number and number.adjusted() >= MOST_DIGITS:
        raise MalformedEvent(f"a decimal has {number.adjusted() + 1:,} digits; at most {MOST_DIGITS} are read")
    return number


def duration(value: bytes) -> str:
    """Return a duration, three little-endian numbers, in ISO 8601: months, days, and ms as seconds."""
    months, days, ms = (int.from_bytes(value[at : at + 4], "little") for at in (0, 4, 8))
    return f"P{months}M{days}DT{ms // 1_000}.{ms % 1_000:03}S"


def uuid(value: str | bytes) -> str:
    """Return a UUID's text in small letters, from its text or its 16 bytes.

    Raises:
        MalformedEvent: it is none.
    """
    try:
        return str(UUID(bytes=value) if isinstance(value, bytes) else UUID(value))
    except ValueError:
        raise MalformedEvent(f"not a UUID: {value[:SHOWN]!r}") from None


AS_THEY_ARE = frozenset({str, int, float, bool, type(None), Ms, Decimal})
CONVERSIONS: dict[type, Callable[[Any], Any]] = {
    bytes: base64,
    datetime: lambda value: Ms(epoch_ms(value)),
    date: date.isoformat,
    time: time.isoformat,
    UUID: str,
}
_encode: Callable[[Any], bytes] = msgspec.json.Encoder(enc_hook=_number, decimal_format="number").encode
