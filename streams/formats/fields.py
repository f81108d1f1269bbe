"""Makes a reader from field names: where a record holds an event's id, time and label.

Owns the names and units that a user may give, and the reasons for which a record is refused. Does not know how a value
is written.
"""

from collections.abc import Callable
from datetime import datetime
from typing import Any, Literal, NamedTuple

import msgspec

from streams.errors import ConfigError, MalformedEvent
from streams.events import Event, Reader, Record
from streams.formats.content import Fields, Format, encode, epoch_ms, finite, json

Unit = Literal["s", "ms", "us", "ns", "iso"]
IN_A_MS = {"ms": 1, "us": 1_000, "ns": 1_000_000}
FARTHEST = 1e24  # as a time far out of range in any unit, yet arithmetic with it stays finite
SHOWN = 60  # at most so many characters of a refused value go into the reason


class RecordPart(NamedTuple):
    """A part of a record outside its value, where an id or time may be."""

    of: Literal["key", "timestamp", "header"]
    name: str = ""

    def __str__(self) -> str:
        return f"{self.of} {self.name!r}" if self.name else self.of


KEY = RecordPart("key")
"""The record's key, UTF-8 text, as an id or time: `fields(id=KEY)`, the default."""

TIMESTAMP = RecordPart("timestamp")
"""The record's time as the event time: `fields(t=TIMESTAMP)`, the default.

It is the header `t` where there is one, else the record's timestamp; always in ms, whatever `t_unit` says.
"""


def header(name: str) -> RecordPart:
    """Return what stands for a header of the record, UTF-8 text, as an id or time; of several the last counts.

    >>> read = fields(id=header("user"), label="bought")
    >>> record = Record("shop.outcomes", 0, 7, 0, 1700000000000, None, b'{"bought": true}', (("user", b"u1"),))
    >>> read(record)
    Event(id='u1', t_ms=1700000000000, body=b'1')
    """
    return RecordPart("header", name)


Where = str | RecordPart
Pick = Callable[[Record, Fields], Any]


def fields(
    *,
    id: Where = KEY,
    t: Where = TIMESTAMP,
    label: str | None = None,
    t_unit: Unit = "ms",
    format: Format = json,
) -> Reader[Event]:
    """Make a feed's reader from the names of fields: with a `label` a reader of outcomes, else of predictions.

    `id`: where the id is: a field, `KEY` or a `header`; text, or a whole number.
    `t`: where the event time is: a field, `TIMESTAMP`, `KEY` or a `header`.
    `label`: the field that becomes an outcome's body: a number, text or a list; true and false become 1 and 0. Without
        it the body is the whole value, as of a prediction.
    `t_unit`: the unit of `t`: "s", "ms", "us" or "ns" since 1970, UTC, or "iso", RFC 3339 with an offset.
    `format`: how the value is written: `json`, `msgpack`, or what `avro` and `protobuf` return.

    A field's name may be a path into nested objects, "user.id". The reader raises `MalformedEvent` where a record has
    something else there, and the record goes to the dead letters.

    Raises:
        ConfigError: a name or a step of a path is empty, `id` is TIMESTAMP, or there is no such unit or format.

    >>> read = fields(id="user.id", t="at", t_unit="s", label="price")
    >>> read(Record("ads.outcomes", 0, 7, 0, 0, None, b'{"user": {"id": 12}, "at": 1.5, "price": 9}'))
    Event(id='12', t_ms=1500, body=b'9')
    >>> read(Record("ads.outcomes", 0, 8, 0, 0, None, b'{"user": {"id": 12}, "at": 1.5, "price": null}'))
    Traceback (most recent call last):
    streams.errors.MalformedEvent: field 'price' must be the label, a finite number, text or a list; found nothing
    """
    _check(id, t, label, t_unit, format)
    id_of, t_of = _pick(id), _pick(t)
    if isinstance(t, RecordPart) and t_unit != "iso":
        t_of = _digits(t_of)
    id_name, t_name = _named(id), _named(t)
    in_ms = t == TIMESTAMP or t_unit == "ms"
    time = TIMES["ms" if in_ms else t_unit]
    label_of, label_name = (_pick(label), _named(label)) if label is not None else (None, "")
    decode, text = format

    def read(record: Record) -> Event:
        value = record.value
        if value is None:
            raise MalformedEvent("the record has no value")
        content = decode(value)
        key = id_of(record, content)
        if type(key) is not str or not key:
            key = _whole(key, id_name)
        t_ms = t_of(record, content)
        if not in_ms or type(t_ms) is not int:
            t_ms = time(t_ms, t_name)
        if label_of is None:
            return Event(key, t_ms, text(value, content))
        return Event(key, t_ms, _label(label_of(record, content), label_name))

    return read


def _check(id: Where, t: Where, label: str | None, t_unit: str, format: Format) -> None:
    for name, where in {"id": id, "t": t, "label": label}.items():
        outside = where is None if name == "label" else isinstance(where, RecordPart)
        if not outside and not (isinstance(where, str) and all(where.split("."))):
            raise ConfigError(f"fields: {name} must be a field's name or a path like 'user.id', got {where!r}")
    if id == TIMESTAMP:
        raise ConfigError("fields: id must be a field, KEY or a header, not TIMESTAMP: many events may share one")
    if t_unit not in TIMES:
        raise ConfigError(f"fields: t_unit must be one of {', '.join(TIMES)}, got {t_unit!r}")
    if not isinstance(format, Format):
        raise ConfigError(f"fields: format must be json, msgpack, or what avro() or protobuf() returns, got {format!r}")


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
        return lambda _, content: content.get(first)

    def pick(_: Record, content: Fields) -> Any:
        value = content.get(first)
        for name in rest:
            if not isinstance(value, dict):
                return None
            value = value.get(name)
        return value

    return pick


def _digits(pick: Pick) -> Pick:
    """Turn the digits of a key or header into a number; any other text stays as it is."""

    def number(record: Record, content: Fields) -> Any:
        text = pick(record, content)
        short = isinstance(text, str) and len(text) < SHOWN and text.isascii()
        return int(text) if short and text.isdigit() else text

    return number


def _text(value: bytes | None, name: str) -> str | None:
    try:
        return None if value is None else value.decode()
    except UnicodeDecodeError:
        raise MalformedEvent(f"{name} is not UTF-8: {_shown(value)}") from None


def _whole(value: Any, name: str) -> str:
    if type(value) is not int:
        raise MalformedEvent(f"{name} must be the id, text or a whole number; found {_shown(value)}")
    return str(value)


def _label(value: Any, name: str) -> bytes:
    if isinstance(value, bool):
        return b"1" if value else b"0"
    if not (finite(value) or isinstance(value, str | list)):
        raise MalformedEvent(f"{name} must be the label, a finite number, text or a list; found {_shown(value)}")
    try:
        return encode(value)
    except (TypeError, ValueError) as wrong:
        raise MalformedEvent(f"{name} must be the label, but has no JSON form: {wrong}") from None


def _seconds(value: Any, name: str) -> int:
    return round(_number(value, name) * 1_000)


def _parts(unit: str) -> Callable[[Any, str], int]:
    in_a_ms = IN_A_MS[unit]
    return lambda value, name: int(_number(value, name) // in_a_ms)


def _number(value: Any, name: str) -> int | float:
    if type(value) is int:
        return value
    if not finite(value) or abs(value) > FARTHEST:
        raise MalformedEvent(f"{name} must be the time, a number; found {_shown(value)}")
    return float(value)


def _iso(value: Any, name: str) -> int:
    try:
        time = msgspec.convert(value, datetime)
    except msgspec.ValidationError:
        time = None
    if time is None or time.tzinfo is None:
        raise MalformedEvent(f"{name} must be the time, RFC 3339 with an offset; found {_shown(value)}")
    return epoch_ms(time)


def _shown(value: Any) -> str:
    """Return a refused value for a message, cut; a container by its kind, as its text may be as long as the event."""
    if isinstance(value, dict | list):
        return "an object" if isinstance(value, dict) else "a list"
    if isinstance(value, str | bytes):
        return repr(value[:SHOWN])
    shown = "nothing" if value is None else repr(value)
    return shown[:SHOWN]


TIMES: dict[str, Callable[[Any, str], int]] = {
    "s": _seconds, **{unit: _parts(unit) for unit in IN_A_MS}, "iso": _iso
}  # fmt: skip
