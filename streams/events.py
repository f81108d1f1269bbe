"""The events and their JSON: a user's records, predictions, and the samples that the join emits.

Owns names, types and bytes. Does not know Kafka, Redis or models.
Times are event times in whole milliseconds since 1970, UTC. `features` stays raw JSON everywhere: only the pipeline
that owns the model decodes it.
"""

import math
from collections.abc import Callable, Mapping
from functools import partial
from hashlib import blake2b
from typing import Any, Generic, NamedTuple, TypeVar

import msgspec
from msgspec import Raw, Struct

from streams.errors import MalformedEvent
from streams.texts import SECONDS_DIGITS, SHOWN, UNREADABLE_MS, key_text, why_not_json

T = TypeVar("T")


class Record(NamedTuple):
    """One Kafka record, as a reader gets it.

    `timestamp_ms` is the record's own timestamp; `t_ms` is the event time: the header `t` (digits, or ISO 8601 with an
    offset) where there is one, else the timestamp. Both are milliseconds since 1970, UTC. Where the header is no time,
    `t_ms` is negative, and the record is refused if its reader takes that.

    >>> record = Record("ads.requests", 0, 7, 1700000000000, 1700000000000, b"a1", b'{"x": 2}')
    >>> record.key, record.offset, record.headers
    (b'a1', 7, ())
    """

    topic: str
    partition: int
    offset: int
    timestamp_ms: int
    t_ms: int
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes], ...] = ()


class Event(NamedTuple):
    """What a feed's reader makes of a record: the id that prediction and outcome share, the time, and the content.

    `t_ms` is the event time in milliseconds since 1970, UTC. `body` goes into the sample as it is, one JSON value in
    UTF-8: a prediction's whole content, or an outcome's label.

    >>> Event("a1", 1700000000000, b'{"score": 0.25}').body
    b'{"score": 0.25}'
    """

    id: str
    t_ms: int
    body: bytes


class Request(NamedTuple):
    """What a pipeline's reader makes of a request record.

    `t_ms` is the event time in milliseconds since 1970, UTC; `features` is the JSON text of the pipeline's feature
    type.

    >>> Request("a1", 1700000000000, b'{"x": 2}').id
    'a1'
    """

    id: str
    t_ms: int
    features: bytes


class Outcome(Struct, frozen=True, gc=False):
    """What a pipeline's reader makes of an outcome record.

    `t` is the outcome's event time in milliseconds since 1970, UTC. `label` is the task's: 0 or 1, the index of a
    class, or a number.

    >>> Outcome("a1", t=1700000060000, label=1.0)
    Outcome(id='a1', t=1700000060000, label=1.0)
    """

    id: str
    t: int
    label: float


class Prediction(Struct, frozen=True, gc=False):
    """The event that the server writes for each request.

    `t` is the request's time. `output` is the artifact's raw output (logits; for regression the value) of length K,
    before the live `intercept` (length K) was added; `learned` is how many samples the learner had learned when it sent
    that intercept; `version` is the champion's.
    """

    id: str
    t: int
    version: int
    output: tuple[float, ...]
    intercept: tuple[float, ...]
    learned: int
    features: Raw

    @property
    def served(self) -> tuple[float, ...]:
        """The model's answer, of length K: output plus intercept."""
        return tuple(o + b for o, b in zip(self.output, self.intercept, strict=True))


def answered(prediction: Prediction, meaning: Mapping[str, Any]) -> bytes:
    """Return the JSON of a prediction with what its answer means to a client, which the learner does not read."""
    body = encode(prediction)
    return body[:-1] + b"," + encode(meaning)[1:] if meaning else body


class Sample(Struct, frozen=True, gc=False):
    """What the join emits, once for each id and revision.

    `kind` is "joined" (an outcome came), "negative" (the window closed without one; revision 0, provisional) or
    "correction" (an outcome came after a negative; revision 1). `t` is the prediction's time; `label_t` is the time of
    the outcome that settled it, or the window's end.
    """

    id: str
    kind: str
    revision: int
    t: int
    label: float
    label_t: int
    prediction: Prediction


new_event: Callable[[tuple[str, int, bytes]], Event] = partial(tuple.__new__, Event)  # half the time of Event(...)
Reader = Callable[[Record], T]
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
    return (
        f"header 't' must be the time, in ms since 1970 or in ISO 8601 with an offset; found {header!r}"
        f"{', which is seconds' if header.isdigit() and len(header) == SECONDS_DIGITS else ''}"
    )


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
        self._decode: Callable[[bytes], T] = msgspec.json.Decoder(kind).decode

    def __call__(self, value: bytes | None) -> T:
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
            raise MalformedEvent(why_not_json(value, wrong)) from None


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
    label: float | bool | str | None
    id: int | str | None = None


_labelled = Json[_Labelled](_Labelled).__call__  # a method is called in half the time of an object


def json_outcome(record: Record) -> Outcome:
    """Read an outcome `{"label": 1}` whose id is the record's key, or `{"id": "a", "label": 1}`: the default reader.

    A label is a number; true and false are 1 and 0.

    Raises:
        MalformedEvent: it is not JSON, its label is not a number, it has no id, or its key is not text.

    >>> json_outcome(Record("ads.outcomes", 0, 7, 0, 1700000060000, None, b'{"id": "a1", "label": 1}'))
    Outcome(id='a1', t=1700000060000, label=1.0)
    """
    event = _labelled(record.value)
    label, id_ = event.label, event.id
    if id_ is None and not record.key:
        raise MalformedEvent("no id: neither a key nor a field 'id'")
    if label is None or isinstance(label, str):
        found = "nothing" if label is None else repr(label[:SHOWN])
        raise MalformedEvent(f"wrong type: field 'label' must be a number, or true or false; found {found}")
    return Outcome(key_or_hash(record) if id_ in (None, "") else str(id_), record.t_ms, float(label))


_prediction = Json[Prediction](Prediction).__call__


def read_prediction(record: Record) -> Event:
    """Read a prediction as the server writes it.

    Raises:
        MalformedEvent: it is not such a prediction, or a number in it is not finite.
    """
    event = _prediction(record.value)
    if not math.isfinite(sum(event.output) + sum(event.intercept)):
        raise MalformedEvent(f"a number is not finite: {event.output}, {event.intercept}")
    return new_event((event.id, event.t, record.value or b""))


checked(read_prediction)


_number: Json[float] = Json(float)


def as_outcome(read: Outcome | Event) -> Outcome:
    """Return what a pipeline's reader of outcomes made, also where `fields` made that reader.

    Raises:
        MalformedEvent: the label is not a number.
    """
    if isinstance(read, Outcome):
        return read
    try:
        return Outcome(read.id, read.t_ms, _number(read.body))
    except MalformedEvent:
        raise MalformedEvent(
            f"the label must be a number; found {read.body[:SHOWN].decode(errors='replace')}"
        ) from None


def labelled(outcome: Outcome) -> Event:
    """Return a pipeline's outcome as an event of the join.

    Raises:
        MalformedEvent: the label is not finite.
    """
    if not math.isfinite(outcome.label):
        raise MalformedEvent(f"the label is not finite: {outcome.label}")
    return new_event((outcome.id, outcome.t, encode(outcome.label)))


timed(json_outcome, OWN_TIME)
read_sample: Json[Sample] = Json(Sample)
encode: Callable[[Any], bytes] = msgspec.json.Encoder().encode
