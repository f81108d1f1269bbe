"""What a plain value must be as an id, a time or a label, and the reasons for which it is refused.

Owns the units of times. Does not know where in a record a value was.
"""

import math
import re
from collections.abc import Callable
from decimal import Decimal
from typing import Any, Literal

from streams.errors import MalformedEvent
from streams.formats.plain import Ms, encoded
from streams.moments import iso_ms, why_no_iso
from streams.texts import SHOWN

Unit = Literal["s", "ms", "us", "ns", "iso"]
IN_A_MS = {"ms": 1, "us": 1_000, "ns": 1_000_000}
FARTHEST = 10**24  # as a time far out of range in any unit, yet arithmetic with it stays finite
MOST_WHOLE = 1 << 53  # a float from there on may stand for another whole number
DIGITS = {"s": 10, "ms": 13, "us": 16, "ns": 19}  # of a time in the years 2001 to 2286
NUMBER = re.compile(r"(\d{1,30})(\.\d{1,30})?", re.ASCII)
ONE_ID = "the id, text or a whole number"


def id_of(value: Any, name: str) -> str:
    """Return a value as an id: text, or a whole number's digits; 7.0 is the whole number 7.

    Raises:
        MalformedEvent: it is neither, or empty.
    """
    if isinstance(value, str) and value:
        return value
    if isinstance(value, int) and not isinstance(value, bool):
        return str(int(value))
    if isinstance(value, float) and value.is_integer() and abs(value) < MOST_WHOLE:
        return str(int(value))
    if isinstance(value, Decimal) and value.as_tuple().exponent == 0:
        return format(value, "f")
    hint = ": name its field" if isinstance(value, dict) and not name.startswith("field") else ""
    raise MalformedEvent(f"{name} must be {ONE_ID}; found {shown(value)}{hint}")


def label_of(value: Any, name: str) -> bytes:
    """Return a value as a label's JSON: a finite number, text or a list; true and false become 1 and 0.

    Raises:
        MalformedEvent: it is something else.
    """
    if type(value) is bool:
        return b"1" if value else b"0"
    if not (is_number(value) or isinstance(value, (str, list))):
        raise MalformedEvent(f"{name} must be the label, a finite number, text or a list; found {shown(value)}")
    try:
        return encoded(value)
    except MalformedEvent:
        raise MalformedEvent(f"{name} must be the label, but has no JSON form: {shown(value)}") from None


def times(unit: Unit | None) -> Callable[[Any, str], int]:
    """Return what makes ms since 1970 of a value in a unit; None: in ms, or of a type that knows its unit.

    What that returns raises MalformedEvent.
    """
    convert = TIMES[unit or "ms"]

    def time(value: Any, name: str) -> int:
        if type(value) is not Ms:
            return convert(value, name)
        if unit is not None:
            raise MalformedEvent(f"{name} is of a type that knows its unit: leave t_unit = {unit!r} out")
        return int(value)

    return time


def is_number(value: Any) -> bool:
    """Return whether a value is a number, and neither infinite nor NaN."""
    kind = type(value)
    return kind is int or kind is Ms or (kind is float and math.isfinite(value)) or (kind is Decimal)


def number_in(text: Any) -> Any:
    """Return the number that a text is; any other value as it is."""
    if isinstance(text, str) and NUMBER.fullmatch(text):
        return Decimal(text) if "." in text else int(text)
    return text


def _seconds(value: Any, name: str) -> int:
    return round(_number(value, name, "s") * 1_000)


def _parts(unit: str) -> Callable[[Any, str], int]:
    in_a_ms = IN_A_MS[unit]

    def convert(value: Any, name: str) -> int:
        number = _number(value, name, unit)
        return math.floor(number / in_a_ms) if isinstance(number, Decimal) else int(number // in_a_ms)

    return convert


def _number(value: Any, name: str, unit: str) -> int | float | Decimal:
    """Return a time as a number; text counts as one only if it has as many digits as a time in that unit."""
    if type(value) is int:
        return value
    if isinstance(value, str) and (digits := NUMBER.fullmatch(value)) and len(digits[1]) == DIGITS[unit]:
        return number_in(value)  # type: ignore[no-any-return]
    if is_number(value) and abs(value) <= FARTHEST:
        return value  # type: ignore[no-any-return]
    iso = ": say t_unit = 'iso'" if isinstance(value, str) and iso_ms(value) is not None else ""
    raise MalformedEvent(f"{name} must be the time, a number; found {shown(value)}{iso}")


def _iso(value: Any, name: str) -> int:
    if not isinstance(value, str) or (time := iso_ms(value)) is None:
        reason = why_no_iso(value) if isinstance(value, str) else ""
        found = shown(value) + (f": {reason}" if reason else "")
        raise MalformedEvent(f"{name} must be the time, RFC 3339 with an offset; found {found}")
    return time


def shown(value: Any) -> str:
    """Return a refused value for a message, cut; a container by its kind, as its text may be as long as the event."""
    if isinstance(value, dict | list):
        return "an object" if isinstance(value, dict) else "a list"
    if isinstance(value, str | bytes):
        return repr(value[:SHOWN])
    text = "nothing" if value is None else str(value) if isinstance(value, int | Decimal) else repr(value)
    return text[:SHOWN]


TIMES: dict[str, Callable[[Any, str], int]] = {
    "s": _seconds, **{unit: _parts(unit) for unit in IN_A_MS}, "iso": _iso
}  # fmt: skip
