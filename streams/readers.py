"""A feed's readers: what makes an event of a record, what one says of itself, and those that need no format.

Owns the default readers and the marks of a reader. Does not know Kafka, Redis or models.
"""

import math
from collections.abc import Callable, Sequence
from hashlib import blake2b
from typing import Any, Generic, NamedTuple, TypeAlias, TypeVar

import msgspec
from msgspec import Raw, Struct

from streams.errors import MalformedEvent
from streams.events import Event, Label, Outcome, Prediction, Record, Request, Sample, new_event
from streams.moments import SECONDS_DIGITS, UNREADABLE_MS, why_no_iso
from streams.texts import SHOWN, key_text, why_not_json

T = TypeVar("T")
Reader = Callable[[Record], T]
Migrate: TypeAlias = Callable[[Any], Any]
CHECKED = "body_is_json"  # attribute of a reader whose events' bodies need no check: each is one JSON value
TIMED = "time_source"


class TimeSource(NamedTuple):
    """Where a reader takes an event's time: a name for people, the `t_unit`, and whether it is the record's own."""

    name: str
    unit: str | None = None
    own: bool = False


def checked(reader: Reader[Event]) -> Reader[Event]:
    """Return a reader after it was marked as one that makes nothing but one JSON value of a body."""
    setattr(reader, CHECKED, True)
    return reader


def timed(reader: Reader[T], source: TimeSource | None) -> Reader[T]:
    """Return a reader after it was marked with where it takes the time."""
    if source:
        setattr(reader, TIMED, source)
    return reader


def time_of(reader: Reader[Any]) -> TimeSource | None:
    """Return where a reader takes an event's time; None for a function of the user's own.

    >>> time_of(json_outcome)
    TimeSource(name="the record's timestamp", unit=None, own=True)
    """
    source: TimeSource | None = getattr(reader, TIMED, None)
    return source


OWN_TIME = TimeSource("the record's timestamp", own=True)


def request_id(record: Record) -> str:
    """Return an id for a request without a key: a hash of the record, so that it has the same id when served again.

    The timestamp and value are hashed too, because the offsets of a topic that was created again repeat.
    """
    origin = f"{record.topic}\0{record.partition}\0{record.offset}\0{record.timestamp_ms}\0".encode()
    return blake2b(origin + (record.value or b""), digest_size=12).hexdigest()


def key_or_hash(record: Record) -> str:
    """Return a request's id: the record's key where there is one, else a hash of the record in 24 hexadecimal digits.

    The hash is of topic, partition, offset, timestamp and value: the same record always has the same id.

    Raises:
        MalformedEvent: the key is not text; the reason says what it may be.

    >>> key_or_hash(Record("ads.requests", 0, 7, 0, 0, b"a1", b"{}"))
    'a1'
    >>> len(key_or_hash(Record("ads.requests", 0, 7, 0, 0, None, b"{}")))
    24
    """
    if not record.key:
        return request_id(record)
    return key_text(record.key, record.headers)


def why_no_time(record: Record, t_ms: int) -> str:
    """Return why an event's time is out of range."""
    if t_ms != UNREADABLE_MS:
        return f"time {t_ms} ms is out of range"
    header = dict(record.headers).get("t", b"")[:SHOWN]
    seconds = header.isdigit() and len(header) == SECONDS_DIGITS
    reason = (
        ", which is seconds"
        if seconds
        else f": {no_iso}"
        if (no_iso := why_no_iso(header.decode(errors="replace")))
        else ""
    )
    return f"header 't' must be the time, in ms since 1970 or in ISO 8601 with an offset; found {header!r}{reason}"


class Json(Generic[T]):
    """A decoder of JSON into a type, such as a `msgspec.Struct`, for a reader; it raises `MalformedEvent`.

    >>> read = Json(dict[str, float])
    >>> read(b'{"price": 0.5}')
    {'price': 0.5}
    >>> read(b'{"price": 0.5')
    Traceback (most recent call last):
    streams.errors.MalformedEvent: not JSON: Input data was truncated
    """

    def __init__(self, kind: type[T] | Any) -> None:
        self._decode: Callable[[bytes | Raw], T] = msgspec.json.Decoder(kind).decode

    def __call__(self, value: bytes | Raw | None) -> T:
        """Decode one value.

        Raises:
            MalformedEvent: the record has no value, or it is not JSON, or not of the type; the message says where.
        """
        if value is None:
            raise MalformedEvent("the record has no value")
        try:
            return self._decode(value)
        except msgspec.ValidationError as wrong:
            raise MalformedEvent(f"wrong type: {wrong}") from None
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as wrong:
            raise MalformedEvent(why_not_json(bytes(value), wrong)) from None

    def each(self, values: Sequence[bytes | Raw]) -> list[T]:
        """Decode many values, in four fifths of the time.

        Raises:
            MalformedEvent: as for the first that is malformed.
        """
        try:
            return list(map(self._decode, values))
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return list(map(self, values))


class Migrated(Generic[T]):
    """A decoder of JSON whose rows may have the shape of before: `migrate` makes of each what the type is decoded from.

    >>> def migrate(row):
    ...     return row | {"price": row.pop("cost")} if "cost" in row else row
    >>> read = Migrated(dict[str, float], migrate)
    >>> read(b'{"cost": 0.5}'), read(b'{"price": 0.5}')
    ({'price': 0.5}, {'price': 0.5})
    """

    def __init__(self, kind: type[T] | Any, migrate: Migrate) -> None:
        self._any, self._migrate, self._read = Json[Any](Any), migrate, Json[T](kind)

    def __call__(self, value: bytes | Raw | None) -> T:
        """Decode one value.

        Raises:
            MalformedEvent: as `Json`, or what `migrate` has returned is no JSON. What it raises is not caught.
        """
        row = self._migrate(self._any(value))
        try:
            return self._read(msgspec.json.encode(row))
        except (TypeError, msgspec.EncodeError) as wrong:
            raise MalformedEvent(f"migrate returned no JSON: {wrong}") from None

    def each(self, values: Sequence[bytes | Raw]) -> list[T]:
        """Decode many values; what is raised is as for the first that cannot be."""
        return list(map(self, values))


def json_request(record: Record) -> Request:
    """Read a request whose value is the features' JSON and whose key, if any, is its id: a pipeline's default reader.

    Raises:
        MalformedEvent: the record has no value, or its key is not text.

    >>> json_request(Record("ads.requests", 0, 7, 0, 1700000000000, b"a1", b'{"x": 2}'))
    Request(id='a1', t_ms=1700000000000, features=b'{"x": 2}')
    """
    if record.value is None:
        raise MalformedEvent("the record has no value")
    return Request(key_or_hash(record), record.t_ms, record.value)


class _Labelled(Struct):
    label: Label | bool | None
    id: int | str | None = None


_labelled = Json[_Labelled](_Labelled).__call__  # a method is called in half the time of an object


def json_outcome(record: Record) -> Outcome:
    """Read an outcome `{"label": 1}` whose id is the record's key, or `{"id": "a", "label": 1}`: the default reader.

    A label is any JSON but null, and the task says which; true and false are 1 and 0.

    Raises:
        MalformedEvent: it is not JSON, it has no label or no id, or its key is not text.

    >>> json_outcome(Record("ads.outcomes", 0, 7, 0, 1700000060000, None, b'{"id": "a1", "label": 1}'))
    Outcome(id='a1', t=1700000060000, label=1.0)
    """
    event = _labelled(record.value)
    label, id_ = event.label, event.id
    if id_ is None and not record.key:
        raise MalformedEvent("no id: neither a key nor a field 'id'")
    if label is None:
        raise MalformedEvent("field 'label' is null; leave the outcome out while nothing is known")
    if isinstance(label, bool):
        label = float(label)
    return Outcome(key_or_hash(record) if id_ in (None, "") else str(id_), record.t_ms, label)


_prediction = Json[Prediction](Prediction).__call__


def read_prediction(record: Record) -> Event:
    """Read a prediction as the server writes it.

    Raises:
        MalformedEvent: it is not such a prediction, or a number in it is not finite.
    """
    event = _prediction(record.value)
    if not math.isfinite(sum(event.output) + sum(event.intercept) + sum(event.theirs)):
        raise MalformedEvent(f"a number is not finite: {event.output}, {event.intercept}")
    return new_event((event.id, event.t, record.value or b""))


checked(read_prediction)


timed(json_outcome, OWN_TIME)
read_sample: Json[Sample] = Json(Sample)
