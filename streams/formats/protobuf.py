"""Protobuf values, by a message class or by a registry's schemas; needs the extra `registry`.

Owns how a message's type is found. Does not know what becomes of a message (`messages.py`), nor which fields matter.
"""

from base64 import b64decode
from functools import partial
from typing import Any

from streams.errors import ConfigError, MalformedEvent
from streams.formats.content import Format, Headers, as_json, fields_of
from streams.formats.plain import MOST_NESTED
from streams.formats.registry import Id, Known, Registry, check_registry, identified
from streams.texts import KEY_HEADER, VALUE_HEADER, frame_of

try:
    from google.protobuf import (
        any_pb2,
        descriptor_pb2,
        descriptor_pool,
        duration_pb2,
        empty_pb2,
        field_mask_pb2,
        message_factory,
        struct_pb2,
        timestamp_pb2,
        wrappers_pb2,
    )
    from google.protobuf.message import DecodeError, Message

    from streams.formats.imports import provide, why
    from streams.formats.messages import is_moment, plain_message
except ModuleNotFoundError:
    raise ConfigError("Protobuf needs protobuf: pip install 'shadowstream[registry]'") from None

WELL_KNOWN = (any_pb2, duration_pb2, empty_pb2, field_mask_pb2, struct_pb2, timestamp_pb2, wrappers_pb2)
VARINT_BYTES = 10


def protobuf(*, message: type[Message] | None = None, registry: Registry | None = None) -> Format:
    """Read Protobuf: bare values of one generated `message` class, or framed values by the schemas of a `registry`.

    Raises:
        ConfigError: not exactly one of the two, or it is no message class, or no `Registry`.
    """
    if (message is None) == (registry is None):
        raise ConfigError("protobuf: give exactly one of message and registry")
    check_registry("protobuf", registry)
    if message is not None and not (isinstance(message, type) and issubclass(message, Message)):
        raise ConfigError(f"protobuf: message must be a class that protoc generated, got {message!r:.60}")
    if message is not None:
        return Format(
            lambda value, _: fields_of(_read(value, message)),
            as_json,
            lambda value, _: _read(value, message),
            knows_unit=partial(is_moment, message.DESCRIPTOR),
        )
    known = Known(lambda number: _file(registry, number))  # type: ignore[arg-type]

    def key(value: bytes, headers: Headers) -> Any:
        return _framed(known, *identified(value, headers, KEY_HEADER))

    return Format(
        lambda value, headers: fields_of(_framed(known, *identified(value, headers, VALUE_HEADER))), as_json, key, key
    )


def _framed(known: Known[Any], number: Id, value: bytes, in_header: bytes | None) -> Any:
    """Read a message; the path to its type is before it, or in the header with the schema's id."""
    file = known(number)
    indexes, rest = _indexes(value if in_header is None else in_header)
    rest = rest if in_header is None else value
    try:
        kind = file.message_types_by_name[list(file.message_types_by_name)[indexes[0]]]
        for index in indexes[1:]:
            kind = kind.nested_types[index]
    except IndexError:
        raise MalformedEvent(f"schema {number} has no message {indexes}") from None
    return _read(rest, message_factory.GetMessageClass(kind))


def _file(registry: Registry, number: Id) -> Any:
    """Ask for a schema as a serialized descriptor, and put it and its imports into a pool of their own."""
    schema = registry.schema(number, "serialized")
    if schema.kind != "PROTOBUF":
        raise MalformedEvent(f"schema {number} is {schema.kind}, not PROTOBUF")
    pool = descriptor_pool.DescriptorPool()
    for known in WELL_KNOWN:
        pool.AddSerializedFile(known.DESCRIPTOR.serialized_pb)
    missing: list[str] = []
    try:
        for name, text in (*schema.imports, (f"schema-{number}.proto", schema.text)):
            _add(pool, name, text, missing)
        return pool.FindFileByName(f"schema-{number}.proto")
    except (TypeError, ValueError, KeyError, DecodeError) as wrong:
        reason = why(missing, wrong) if missing else f"it is not a serialized Protobuf file: {wrong}"
        raise MalformedEvent(f"schema {number} cannot be read: {reason}") from None


def _add(pool: Any, name: str, text: str, missing: list[str]) -> None:
    file = descriptor_pb2.FileDescriptorProto.FromString(b64decode(text, validate=True))
    file.name = name
    if not name.startswith("google/protobuf/"):
        missing += provide(pool, file)
        pool.Add(file)


def _indexes(value: bytes) -> tuple[list[int], bytes]:
    """Split off the path to a message in its file: a count and indexes, zigzag; a count of zero means the first."""
    count, at = _varint(value, 0)
    if not 0 <= count <= MOST_NESTED:
        raise MalformedEvent(f"the path to a Protobuf message has {count} steps")
    indexes = []
    for _ in range(count):
        index, at = _varint(value, at)
        if index < 0:
            raise MalformedEvent(f"the path to a Protobuf message holds {index}")
        indexes.append(index)
    return indexes or [0], value[at:]


def _varint(value: bytes, at: int) -> tuple[int, int]:
    number = 0
    for seven_bits, byte in enumerate(value[at : at + VARINT_BYTES]):
        number |= (byte & 0x7F) << 7 * seven_bits
        if byte < 0x80:
            return (number >> 1) ^ -(number & 1), at + seven_bits + 1
    raise MalformedEvent("the path to a Protobuf message is cut short")


def _read(value: bytes, kind: type[Message]) -> Any:
    try:
        message: Any = kind.FromString(value)
        if not message.IsInitialized():
            raise DecodeError(f"required {', '.join(message.FindInitializationErrors())} not there")
        return plain_message(message)
    except (DecodeError, TypeError, ValueError, OverflowError, RecursionError) as wrong:
        frame = frame_of(value)
        hint = f"; if it has {frame}, say protobuf(registry=...)" if frame else ""
        raise MalformedEvent(f"not Protobuf of {kind.DESCRIPTOR.full_name}: {wrong}{hint}") from None
