"""Field names into a reader: where a record holds an event's id, time and label.

Owns the places and units that a user names, and what is refused there, by name. Does not know how a value is written.
"""

from collections.abc import Callable
from datetime import datetime
from typing import Any, Literal, NamedTuple

import msgspec

from streams.errors import ConfigError, MalformedEvent
from streams.events import Event, Reader, Record
from streams.formats.content import Fields, Format, encode, finite, json, ms

Unit = Literal["s", "ms", "us", "ns", "iso"]
IN_A_MS = {"ms": 1, "us": 1_000, "ns": 1_000_000}
FARTHEST = 1e24  # in any unit, far out of range already, and sums with it stay finite
SHOWN = 60  # characters of what was found go into the reason


class Place(NamedTuple):
    """A place outside the value."""

    of: Literal["key", "timestamp", "header"]
    name: str = ""

    def __str__(self) -> str:
        return f"{self.of} {self.name!r}" if self.name else self.of


KEY = Place("key")
"""The record's key, UTF-8 text, as the place of an id or time: `fields(id=KEY)`, the default."""

TIMESTAMP = Place("timestamp")
"""The record's time, as the place of an event time: `fields(t=TIMESTAMP)`, the default.

It is the header `t` where there is one, else the record's timestamp; in ms, whatever `t_unit` says.
"""


def header(name: str) -> Place:
    """Name a header of the record, UTF-8 text, as the place of an id or time; of several headers the last counts.

    >>> read = fields(id=header("user"), label="bought")
    >>> record = Record("shop.outcomes", 0, 7, 0, 1700000000000, None, b'{"bought": true}', (("user", b"u1"),))
    >>> read(record)
    Event(id='u1', t_ms=1700000000000, body=b'1')
    """
    return Place("header", name)


Where = str | Place
Pick = Callable[[Record, Fields], Any]


def fields(
    *,
    id: Where = KEY,
    t: Where = TIMESTAMP,
    label: str | None = None,
    t_unit: Unit = "ms",
    format: Format = json,
) -> Reader[Event]:
    """Make a feed's reader from the names of fields: of predictions, or with a `label` of outcomes.

    `id`: where the id is: a field, `KEY` or a `header`; text, or a whole number.
    `t`: where the event time is: a field, `TIMESTAMP`, `KEY` or a `header`.
    `label`: the field that becomes an outcome's body: a number, text or a list; true and false become 1 and 0. Without
        it the body is the whole value, as of a prediction.
    `t_unit`: the unit of `t`: "s", "ms", "us" or "ns" since 1970, UTC, or "iso", RFC 3339 with an offset.
    `format`: how the value is written: `json`, `msgpack`, or what `avro` and `protobuf` return.

    A field's name may be a path into nested objects, "user.id". The reader raises `MalformedEvent` where a record has
    something else in these places, and the record goes to the dead letters.

    Raises:
        ConfigError: a name is empty, `id` is TIMESTAMP, or there is no such unit.

    >>> read = fields(id="user.id", t="at", t_unit="s", label="price")
    >>> read(Record("ads.outcomes", 0, 7, 0, 0, None, b'{"user": {"id": 12}, "at": 1.5, "price": 9}'))
    Event(id='12', t_ms=1500, body=b'9')
    >>> read(Record("ads.outcomes", 0, 8, 0, 0, None, b'{"user": {"id": 12}, "at": 1.5, "price": null}'))
    Traceback (most recent call last):
    streams.errors.MalformedEvent: field 'price' must be the label, a finite number, text or a list; found nothing
    """
    _check(id, t, label, t_unit)
    id_of, t_of = _pick(id), _pick(t)
    if isinstance(t, Place) and t_unit != "iso":
        t_of = _digits(t_of)
    told_id, told_t = _named(id), _named(t)
    in_ms = t == TIMESTAMP or t_unit == "ms"
    time = TIMES["ms" if in_ms else t_unit]
    label_of, told_label = (_pick(label), _named(label)) if label is not None else (None, "")
    decode, text = format

    def read(record: Record) -> Event:
        value = record.value
        if value is None:
            raise MalformedEvent("the record has no value")
        found = decode(value)
        key = id_of(record, found)
        if type(key) is not str or not key:
            key = _whole(key, told_id)
        t_ms = t_of(record, found)
        if not in_ms or type(t_ms) is not int:
            t_ms = time(t_ms, told_t)
        if label_of is None:
            return Event(key, t_ms, text(value, found))
        return Event(key, t_ms, _label(label_of(record, found), told_label))

    return read


def _check(id: Where, t: Where, label: str | None, t_unit: str) -> None:
    for name, where in (("id", id), ("t", t), ("label", label)):
        if isinstance(where, str) and not all(where.split(".")):
            raise ConfigError(f"fields: {name} must be a field's name or a path like 'user.id', got {where!r}")
    if id == TIMESTAMP:
        raise ConfigError("fields: id must be a field, KEY or a header, not TIMESTAMP, which is no event's own")
    if t_unit not in TIMES:
        raise ConfigError(f"fields: t_unit must be one of {', '.join(TIMES)}, got {t_unit!r}")


def _named(where: Where) -> str:
    return f"field {where!r}" if isinstance(where, str) else str(where)


def _pick(where: Where) -> Pick:
    if isinstance(where, str):
        return _field(where)
    if where == KEY:
        return lambda record, _: _text(record.key, "key")
    if where == TIMESTAMP:
        return lambda record, _: record.t_ms
    return lambda record, _: _text(dict(record.headers).get(where.name), str(where))


def _field(path: str) -> Pick:
    first, *rest = path.split(".")
    if not rest:
        return lambda _, found: found.get(first)

    def pick(_: Record, found: Fields) -> Any:
        value = found.get(first)
        for name in rest:
            if not isinstance(value, dict):
                return None
            value = value.get(name)
        return value

    return pick


def _digits(pick: Pick) -> Pick:
    """Take the number that a key or header spells; what is none stays text."""

    def number(record: Record, found: Fields) -> Any:
        text = pick(record, found)
        short = isinstance(text, str) and len(text) < SHOWN and text.isascii()
        return int(text) if short and text.isdigit() else text

    return number


def _text(found: bytes | None, told: str) -> str | None:
    try:
        return None if found is None else found.decode()
    except UnicodeDecodeError:
        raise MalformedEvent(f"{told} is not UTF-8: {_shown(found)}") from None


def _whole(found: Any, told: str) -> str:
    if type(found) is not int:
        raise MalformedEvent(f"{told} must be the id, text or a whole number; found {_shown(found)}")
    return str(found)


def _label(found: Any, told: str) -> bytes:
    if isinstance(found, bool):
        return b"1" if found else b"0"
    if not (finite(found) or isinstance(found, str | list)):
        raise MalformedEvent(f"{told} must be the label, a finite number, text or a list; found {_shown(found)}")
    try:
        return encode(found)
    except (TypeError, ValueError) as wrong:
        raise MalformedEvent(f"{told} must be the label, but has no JSON form: {wrong}") from None


def _seconds(found: Any, told: str) -> int:
    return round(_number(found, told) * 1_000)


def _parts(unit: str) -> Callable[[Any, str], int]:
    in_a_ms = IN_A_MS[unit]
    return lambda found, told: int(_number(found, told) // in_a_ms)


def _number(found: Any, told: str) -> int | float:
    if type(found) is int:
        return found
    if not finite(found) or abs(found) > FARTHEST:
        raise MalformedEvent(f"{told} must be the time, a number; found {_shown(found)}")
    return float(found)


def _iso(found: Any, told: str) -> int:
    try:
        time = msgspec.convert(found, datetime)
    except msgspec.ValidationError:
        time = None
    if time is None or time.tzinfo is None:
        raise MalformedEvent(f"{told} must be the time, RFC 3339 with an offset; found {_shown(found)}")
    return ms(time)


def _shown(found: Any) -> str:
    """Show what was found, cut: a container by its kind alone, for its text may be as long as the event."""
    if isinstance(found, dict | list):
        return "an object" if isinstance(found, dict) else "a list"
    if isinstance(found, str | bytes):
        return repr(found[:SHOWN])
    shown = "nothing" if found is None else repr(found)
    return shown[:SHOWN]


TIMES: dict[str, Callable[[Any, str], int]] = {
    "s": _seconds, **{unit: _parts(unit) for unit in IN_A_MS}, "iso": _iso
}  # fmt: skip
