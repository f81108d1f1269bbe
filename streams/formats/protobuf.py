"""Protobuf values, by a message class or by a registry's schemas; needs the extra `registry`.

Owns what a message becomes in JSON: fields have their names of the .proto, and those without presence are always there;
enums are names, whole numbers are numbers, a Timestamp is ms since 1970, bytes are base64 text, other well-known types
are as in Protobuf's own JSON. Does not know which fields matter.
"""

from base64 import b64decode
from typing import Any

from streams.errors import ConfigError, MalformedEvent
from streams.formats.content import MOST_NESTED, Fields, Format, as_json
from streams.formats.registry import Known, Registry, framed

try:
    from google.protobuf import (
        any_pb2,
        descriptor_pb2,
        descriptor_pool,
        duration_pb2,
        empty_pb2,
        field_mask_pb2,
        json_format,
        message_factory,
        struct_pb2,
        timestamp_pb2,
        wrappers_pb2,
    )
    from google.protobuf.message import DecodeError, Message
except ModuleNotFoundError:
    raise ConfigError("Protobuf needs protobuf: pip install 'shadowstream[registry]'") from None

WELL_KNOWN = (any_pb2, duration_pb2, empty_pb2, field_mask_pb2, struct_pb2, timestamp_pb2, wrappers_pb2)
TIMESTAMP = "google.protobuf.Timestamp"
VARINT_BYTES = 10


def protobuf(*, message: type[Message] | None = None, registry: Registry | None = None) -> Format:
    """Read Protobuf: bare values of one generated `message` class, or framed values by the schemas of a `registry`.

    Raises:
        ConfigError: not exactly one of the two.
    """
    if (message is None) == (registry is None):
        raise ConfigError("protobuf: give exactly one of message and registry")
    if message is not None:
        return Format(lambda value: _read(value, message), as_json)
    known = Known(lambda number: _file(registry, number))  # type: ignore[arg-type]
    return Format(lambda value: _framed(known, value), as_json)


def _framed(known: Known[Any], value: bytes) -> Fields:
    number, rest = framed(value)
    file = known(number)
    indexes, rest = _indexes(rest)
    try:
        kind = file.message_types_by_name[list(file.message_types_by_name)[indexes[0]]]
        for index in indexes[1:]:
            kind = kind.nested_types[index]
    except IndexError:
        raise MalformedEvent(f"schema {number} has no message {indexes}") from None
    return _read(rest, message_factory.GetMessageClass(kind))


def _file(registry: Registry, number: int) -> Any:
    """Ask for a schema as a serialized descriptor, and put it and its imports into a pool of their own."""
    schema = registry.schema(number, "serialized")
    if schema.kind != "PROTOBUF":
        raise MalformedEvent(f"schema {number} is {schema.kind}, not PROTOBUF")
    pool = descriptor_pool.DescriptorPool()
    for known in WELL_KNOWN:
        pool.AddSerializedFile(known.DESCRIPTOR.serialized_pb)
    try:
        for name, text in (*schema.imports, (f"schema-{number}.proto", schema.text)):
            _add(pool, name, text)
        return pool.FindFileByName(f"schema-{number}.proto")
    except (TypeError, ValueError, KeyError, DecodeError) as wrong:
        raise MalformedEvent(f"schema {number} is not a serialized Protobuf file: {wrong}") from None


def _add(pool: Any, name: str, text: str) -> None:
    file = descriptor_pb2.FileDescriptorProto.FromString(b64decode(text, validate=True))
    file.name = name
    if not name.startswith("google/protobuf/"):
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


def _read(value: bytes, kind: type[Message]) -> Fields:
    try:
        return _fields(kind.FromString(value))
    except (DecodeError, json_format.Error, TypeError, ValueError, OverflowError, RecursionError) as wrong:
        raise MalformedEvent(f"not Protobuf of {kind.DESCRIPTOR.full_name}: {wrong}") from None


def _fields(message: Any) -> Fields:
    fields: Fields = {}
    for field in message.DESCRIPTOR.fields:
        if field.has_presence and not message.HasField(field.name):
            continue
        value = getattr(message, field.name)
        if field.message_type is not None and field.message_type.GetOptions().map_entry:
            of = field.message_type.fields_by_name["value"]
            fields[field.name] = {_key(key): _value(of, value[key]) for key in value}
        elif field.is_repeated:
            fields[field.name] = [_value(field, item) for item in value]
        else:
            fields[field.name] = _value(field, value)
    return fields


def _key(key: Any) -> str:
    return str(key).lower() if isinstance(key, bool) else str(key)


def _value(field: Any, value: Any) -> Any:
    if field.enum_type is not None:
        named = field.enum_type.values_by_number.get(value)
        return named.name if named else value
    if field.message_type is None:
        return value
    if field.message_type.full_name == TIMESTAMP:
        return value.seconds * 1_000 + value.nanos // 1_000_000
    if field.message_type.full_name.startswith("google.protobuf."):
        return json_format.MessageToDict(value, preserving_proto_field_name=True)
    return _fields(value)
