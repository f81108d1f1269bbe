"""The parts of a record outside its value: its key, its timestamp and its headers, and how their bytes are read.

Owns what a user may name there, and Kafka's own serializers. Does not know what an id or a time must be.
"""

import struct
from collections.abc import Callable
from functools import partial
from typing import Any, Literal, NamedTuple, get_args

from streams.errors import ConfigError, MalformedEvent
from streams.events import Record
from streams.formats.content import Fields, Format, Headers
from streams.formats.plain import base64, uuid
from streams.texts import KEY_HEADER, SHOWN, frame_of, guesses, key_text, text_of

Serializer = Literal["string", "int", "long", "short", "float", "double", "uuid", "bytes"]
Pick = Callable[[Record, Fields], Any]


class RecordPart(NamedTuple):
    """A part of a record outside its value, where an id or time may be; `format` is how it is written.

    `field` is a field's name or path, where the format makes an object of the part.
    """

    of: Literal["key", "timestamp", "header"]
    name: str = ""
    format: Format | Serializer | None = None
    field: str = ""

    def __str__(self) -> str:
        part = f"{self.of} {self.name!r}" if self.name else self.of
        return f"field {self.field!r} of the {part}" if self.field else part


KEY = RecordPart("key")
"""The record's key as an id or time: `fields(id=KEY)`, the default. It is text, or a JSON string without its quotes.

A key that is neither is refused, with what it seems to be; `key` says how it is written.
"""

TIMESTAMP = RecordPart("timestamp")
"""The record's time as the event time: `fields(t=TIMESTAMP)`, the default.

It is the header `t` where there is one, in ms since 1970 or in ISO 8601 with an offset, else the record's timestamp.
"""


def key(format: Format | Serializer, field: str = "") -> RecordPart:
    """Return what stands for the record's key, written in a `format`, as an id or time.

    `format`: the serializer of Kafka's clients that wrote it, "string" (any UTF-8, exactly as it is), "int", "long",
        "short", "float", "double", "uuid" or "bytes" (base64 text); or a format as of a value: `json`, `json_schema`,
        `msgpack`, or what `avro` and `protobuf` return.
    `field`: the field's name or path, where the key is an object.

    Raises:
        ConfigError: there is no such format.

    >>> read = fields(id=key("long"), label="bought")
    >>> read(Record("shop.outcomes", 0, 7, 0, 1700000000000, (12).to_bytes(8, "big"), b'{"bought": true}'))
    Event(id='12', t_ms=1700000000000, body=b'1')
    >>> read = fields(id=key(json, "order"), label="bought")
    >>> read(Record("shop.outcomes", 0, 7, 0, 1700000000000, b'{"order": 12}', b'{"bought": true}')).id
    '12'
    """
    return _part(RecordPart("key", "", format, field))


def header(name: str, format: Format | Serializer | None = None, field: str = "") -> RecordPart:
    """Return what stands for a header of the record as an id or time; of several of a name the last counts.

    Without a `format` it is text, or a JSON string without its quotes; else `format` and `field` are as of `key`.

    Raises:
        ConfigError: there is no such format.

    >>> read = fields(id=header("user"), label="bought")
    >>> record = Record("shop.outcomes", 0, 7, 0, 1700000000000, None, b'{"bought": true}', (("user", b"u1"),))
    >>> read(record)
    Event(id='u1', t_ms=1700000000000, body=b'1')
    """
    return _part(RecordPart("header", name, format, field))


def _part(part: RecordPart) -> RecordPart:
    serializers = get_args(Serializer)
    if part.format is not None and not isinstance(part.format, Format) and part.format not in serializers:
        raise ConfigError(
            f"{part.of}: format must be one of {', '.join(map(repr, serializers))}, json, json_schema, msgpack, or "
            f"what avro() or protobuf() returns, got {part.format!r}"
        )
    if part.of == "header" and not (isinstance(part.name, str) and part.name):
        raise ConfigError(f"header: a name must be text, got {part.name!r}")
    if part.field and not isinstance(part.format, Format):
        raise ConfigError(f"{part.of}: a {part.format or 'text'} has no fields; name {part.field!r} with a format")
    if part.field and not (isinstance(part.field, str) and all(part.field.split("."))):
        raise ConfigError(f"{part.of}: field must be a name or a path like 'user.id', got {part.field!r}")
    return part


def field_of(path: str) -> Callable[[Any], Any]:
    """Return what picks a field by its name or path: None where it is not there."""
    names = path.split(".")

    def pick(value: Any) -> Any:
        for name in names:
            if not isinstance(value, dict):
                return None
            value = value.get(name)
        return value

    return pick


def pick_part(part: RecordPart, values: Format) -> Pick:
    """Return what takes a part from a record: plain, or None where it is not there.

    A key with a registry's frame is read where the format of the `values` knows a registry.
    """
    if part.of == "timestamp":
        return lambda record, _: record.t_ms
    if part == KEY:
        return partial(_text_or_framed, values.framed) if values.framed else _key_text
    read, name = _reading(part), part.name
    if part.of == "key":
        return lambda record, _: None if record.key is None else read(record.key, record.headers)

    def pick(record: Record, _: Fields) -> Any:
        value = dict(record.headers).get(name)
        return None if value is None else read(value, record.headers)

    return pick


def _key_text(record: Record, _: Fields) -> str | None:
    key, headers = record.key, record.headers
    if key is None:
        return None
    return key_text(key, headers) if headers else text_of(key, "key")


def _text_or_framed(framed: Callable[[bytes, Headers], Any], record: Record, _: Fields) -> Any:
    key = record.key
    if key is None or not (frame_of(key) or KEY_HEADER in dict(record.headers)):
        return _key_text(record, _)
    try:
        return framed(key, record.headers)
    except MalformedEvent as wrong:
        raise MalformedEvent(f"key cannot be read by the registry of the values: {wrong}; {guesses(key)}") from None


def _reading(part: RecordPart) -> Callable[[bytes, Headers], Any]:
    where = str(part._replace(field=""))
    if part.format is None:
        return lambda value, _: text_of(value, where)
    read = part.format.part if isinstance(part.format, Format) else _serialized(part.format, where)
    if not part.field:
        return read
    pick = field_of(part.field)
    return lambda value, headers: pick(read(value, headers))


def _serialized(serializer: Serializer, where: str) -> Callable[[bytes, Headers], Any]:
    """Return what reads the bytes that one of Kafka's serializers wrote."""
    decode = SERIALIZERS[serializer]

    def read(value: bytes, _: Headers) -> Any:
        try:
            return decode(value)
        except (struct.error, UnicodeDecodeError):
            like = f"{where} must be as the {serializer} serializer of Kafka writes it{SIZES.get(serializer, '')}"
            raise MalformedEvent(f"{like}; found {value[:SHOWN]!r}") from None

    return read


def _number(code: str) -> Callable[[bytes], Any]:
    return lambda value: struct.unpack(code, value)[0]


NUMBERS = {"int": ">i", "long": ">q", "short": ">h", "float": ">f", "double": ">d"}
SIZES = {name: f", {struct.calcsize(code)} bytes" for name, code in NUMBERS.items()} | {"string": ", UTF-8"}
SERIALIZERS: dict[str, Callable[[bytes], Any]] = {
    "string": bytes.decode,
    "uuid": lambda value: uuid(value if len(value) == 16 else value.decode()),
    "bytes": base64,
    **{name: _number(code) for name, code in NUMBERS.items()},
}
