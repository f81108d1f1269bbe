"""Makes a reader from field names: where a record holds an event's id, time and label.

Owns the names that a user may give, and which of them contradict one another. Does not know how a value is written.
"""

from collections.abc import Callable
from typing import Any, Literal

from streams.errors import ConfigError, MalformedEvent, Skipped
from streams.events import Event, Record, new_event
from streams.formats.content import Fields, Format, json
from streams.formats.parts import KEY, TIMESTAMP, Pick, RecordPart, field_of, header, key, pick_part
from streams.formats.values import TIMES, Unit, id_of, label_of, number_in, times
from streams.readers import OWN_TIME, Reader, TimeSource, checked, timed
from streams.texts import FORMS, VALUE_HEADER

Where = str | RecordPart


def fields(
    *,
    id: Where = KEY,
    t: Where = TIMESTAMP,
    label: str | None = None,
    t_unit: Unit | None = None,
    format: Format = json,
    tombstones: Literal["refuse", "skip"] = "refuse",
) -> Reader[Event]:
    """Make a feed's reader from the names of fields: with a `label` a reader of outcomes, else of predictions.

    `id`: where the id is: a field, `KEY`, a `key` with a format, or a `header`; text, or a whole number.
    `t`: where the event time is: a field, `TIMESTAMP`, a key or a header.
    `label`: the field that becomes an outcome's body: a number, text or a list; true and false become 1 and 0. Without
        it the body is the whole value, as of a prediction.
    `t_unit`: the unit of a `t` that is a number: "s", "ms" (the default), "us" or "ns" since 1970, UTC; or "iso", ISO
        8601 text with an offset. A timestamp of Avro, Protobuf or MessagePack knows its unit: beside it `t_unit` is
        refused.
    `format`: how the value is written: `json`, `json_schema`, `msgpack`, or what `avro` and `protobuf` return.
    `tombstones`: what becomes of records without a value: a dead letter, or "skip": their positions count as holes.

    A field's name may be a path into nested objects, "user.id". The reader raises `MalformedEvent` where a record has
    something else there, and the record goes to the dead letters.

    Raises:
        ConfigError: a name or a step of a path is empty, `id` is TIMESTAMP, `t_unit` has no number to belong to, or
            there is no such unit or format.

    >>> read = fields(id="user.id", t="at", t_unit="s", label="price")
    >>> read(Record("ads.outcomes", 0, 7, 0, 0, None, b'{"user": {"id": 12}, "at": 1.5, "price": 9}'))
    Event(id='12', t_ms=1500, body=b'9')
    >>> read(Record("ads.outcomes", 0, 8, 0, 0, None, b'{"user": {"id": 12}, "at": 1.5, "price": null}'))
    Traceback (most recent call last):
    streams.errors.MalformedEvent: field 'price' must be the label, a finite number, text or a list; found nothing
    """
    _check(id, t, label, t_unit, format, tombstones)
    pick_id, pick_t, in_ms = _pick(id, format), _pick(t, format), t_unit in (None, "ms")
    if isinstance(t, RecordPart) and t != TIMESTAMP and t_unit != "iso":
        pick_t = _numeric(pick_t)
    id_name, t_name, time = _named(id), _named(t), times(t_unit)
    pick_label, label_name = (_pick(label, format), _named(label)) if label is not None else (None, "")
    decode, text = format.decode, format.text
    skips, hint = tombstones == "skip", "" if format.framed else NAMED

    def read(record: Record) -> Event:
        value = record.value
        if value is None:
            raise Skipped("a tombstone") if skips else MalformedEvent("the record has no value")
        try:
            content = decode(value, record.headers)
        except MalformedEvent as wrong:
            raise MalformedEvent(f"{wrong}{hint if VALUE_HEADER in dict(record.headers) else ''}") from None
        try:
            found = pick_id(record, content)
            if type(found) is not str or not found:
                found = id_of(found, id_name)
            t_ms = pick_t(record, content)
            if not in_ms or type(t_ms) is not int:
                t_ms = time(t_ms, t_name)
            if pick_label is None:
                return new_event((found, t_ms, text(value, content)))
            return new_event((found, t_ms, label_of(pick_label(record, content), label_name)))
        except MalformedEvent as wrong:
            raise MalformedEvent(f"{wrong}{_why(content)}") from None

    return timed(checked(read), OWN_TIME if t == TIMESTAMP else TimeSource(t_name, t_unit))


def _check(id: Where, t: Where, label: str | None, t_unit: str | None, format: Format, tombstones: str) -> None:
    for name, where in {"id": id, "t": t, "label": label}.items():
        outside = where is None if name == "label" else isinstance(where, RecordPart)
        if not outside and not (isinstance(where, str) and all(where.split("."))):
            raise ConfigError(f"fields: {name} must be a field's name or a path like 'user.id', got {where!r}")
    if id == TIMESTAMP:
        raise ConfigError("fields: id must be a field, a key or a header, not TIMESTAMP: many events may share one")
    if t_unit is not None and t_unit not in TIMES:
        raise ConfigError(f"fields: t_unit must be one of {', '.join(TIMES)}, got {t_unit!r}")
    if t == TIMESTAMP and t_unit not in (None, "ms"):
        raise ConfigError(f"fields: t_unit = {t_unit!r} needs a t: the record's own timestamp is in ms")
    if not isinstance(format, Format):
        formats = "json, json_schema, msgpack, or what avro() or protobuf() returns"
        raise ConfigError(f"fields: format must be {formats}, got {format!r}")
    if t_unit is not None and isinstance(t, str) and format.knows_unit(t.split(".")):
        raise ConfigError(f"fields: t: field {t!r} is of a type that knows its unit: leave t_unit = {t_unit!r} out")
    if tombstones not in ("refuse", "skip"):
        raise ConfigError(f"fields: tombstones must be 'refuse' or 'skip', got {tombstones!r}")


def _named(where: Where) -> str:
    return f"field {where!r}" if isinstance(where, str) else str(where)


def _pick(where: Where, format: Format) -> Pick:
    if isinstance(where, RecordPart):
        return pick_part(where, format)
    if "." not in where:
        return lambda _, content: content.get(where)
    pick: Callable[[Any], Any] = field_of(where)
    return lambda _, content: pick(content)


def _numeric(pick: Pick) -> Pick:
    """Turn what a key or header says in digits into a number; what is none stays as it is."""
    return lambda record, content: number_in(pick(record, content))


NAMED = f"; the header {VALUE_HEADER!r} names a schema: a format for it is {FORMS}"
CHANGES = {"d": "deletes a row", "t": "truncates its table", "m": "is a message"}


def _why(content: Fields) -> str:
    """Return more about a refused event, where it is a change event of a database that has no row after it."""
    payload = content.get("payload")
    envelope: Fields = payload if isinstance(payload, dict) else content
    change = CHANGES.get(str(envelope.get("op"))) if envelope.get("after") is None else None
    return f" (a change event that {change}, op {envelope['op']!r})" if change else ""


__all__ = ["KEY", "TIMESTAMP", "fields", "header", "key"]
