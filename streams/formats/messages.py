"""What a Protobuf message becomes: plain values, by one conversion for a message, a field, an item of a list or a map.

Owns the table of well-known types. Fields have their names of the .proto, and those without presence are always there;
enums are names, whole numbers are numbers. Does not know where a message comes from.
"""

from collections.abc import Callable, Sequence
from typing import Any

from google.protobuf import message_factory

from streams.formats.plain import MOST_NESTED, Ms, base64, decimal, deeper

NANOS_IN_A_MS = 1_000_000
FIRST_S, LAST_S = -62_135_596_800, 253_402_300_799  # of a Timestamp, as Protobuf says


def plain_message(message: Any, levels: int = MOST_NESTED) -> Any:
    """Return a message in plain types: an object of its fields, or what its well-known type stands for.

    Raises:
        MalformedEvent: it is nested too deeply.
        ValueError, DecodeError: a well-known type holds what it must not.
    """
    if well_known := WELL_KNOWN.get(message.DESCRIPTOR.full_name):
        return well_known(message, levels)
    levels = deeper(levels)
    return {
        field.name: _field(message, field, levels)
        for field in message.DESCRIPTOR.fields
        if not field.has_presence or message.HasField(field.name)
    }


def _field(message: Any, field: Any, levels: int) -> Any:
    value = getattr(message, field.name)
    if field.message_type is not None and field.message_type.GetOptions().map_entry:
        of, levels = field.message_type.fields_by_name["value"], deeper(levels)
        return {_key(key): _value(of, value[key], levels) for key in value}
    if field.is_repeated:
        levels = deeper(levels)
        return [_value(field, item, levels) for item in value]
    return _value(field, value, levels)


def _key(key: Any) -> str:
    return str(key).lower() if isinstance(key, bool) else str(key)


def _value(field: Any, value: Any, levels: int) -> Any:
    if field.message_type is not None:
        return plain_message(value, levels)
    if field.enum_type is not None:
        return _enum(field.enum_type, value)
    return base64(value) if isinstance(value, bytes) else value


def _enum(kind: Any, number: int) -> Any:
    if kind.full_name == "google.protobuf.NullValue":
        return None
    named = kind.values_by_number.get(number)
    return named.name if named else number


def _wrapped(message: Any, _: int) -> Any:
    return base64(message.value) if isinstance(message.value, bytes) else message.value


def _timestamp(message: Any, _: int) -> Ms:
    if not (FIRST_S <= message.seconds <= LAST_S and 0 <= message.nanos < 1_000 * NANOS_IN_A_MS):
        raise ValueError(
            f"a Timestamp has {message.seconds} s and {message.nanos} ns: not in the years 1 to 9999, or no part of a "
            "second"
        )
    return Ms(message.seconds * 1_000 + message.nanos // NANOS_IN_A_MS)


def _any(message: Any, levels: int) -> dict[str, Any]:
    """Return the message inside and its type's URL; a type that the schema does not import stays bytes."""
    levels, about = deeper(levels), {"@type": message.type_url}
    try:
        kind = message.DESCRIPTOR.file.pool.FindMessageTypeByName(message.type_url.rpartition("/")[2])
    except KeyError:
        return about | {"value": base64(message.value)}
    value = plain_message(message_factory.GetMessageClass(kind).FromString(message.value), levels)
    return about | (value if isinstance(value, dict) and kind.full_name not in WELL_KNOWN else {"value": value})


def _struct(message: Any, levels: int) -> dict[str, Any]:
    levels = deeper(levels)
    return {name: _dynamic(value, levels) for name, value in message.fields.items()}


def _list(message: Any, levels: int) -> list[Any]:
    levels = deeper(levels)
    return [_dynamic(value, levels) for value in message.values]


def _dynamic(message: Any, levels: int) -> Any:
    """Return what a Value holds; its numbers are all doubles, and those that are whole are whole numbers here."""
    kind = message.WhichOneof("kind")
    if kind in ("struct_value", "list_value"):
        return plain_message(getattr(message, kind), levels)
    if kind in (None, "null_value"):
        return None
    value = getattr(message, kind)
    return int(value) if isinstance(value, float) and value.is_integer() and abs(value) < MOST_WHOLE else value


def is_moment(message: Any, path: Sequence[str]) -> bool:
    """Return whether the field of a path is a timestamp, by a message's descriptor."""
    if not path:
        return bool(message.full_name == TIMESTAMP)
    field = message.fields_by_name.get(path[0])
    if field is None or field.message_type is None:
        return False
    if field.message_type.GetOptions().map_entry:
        value = field.message_type.fields_by_name["value"].message_type
        return value is not None and len(path) > 1 and is_moment(value, path[2:])
    return not field.is_repeated and is_moment(field.message_type, path[1:])


TIMESTAMP = "google.protobuf.Timestamp"
MOST_WHOLE = 1 << 53
WELL_KNOWN: dict[str, Callable[[Any, int], Any]] = {
    TIMESTAMP: _timestamp,
    "google.protobuf.Duration": lambda message, _: message.ToJsonString(),
    "google.protobuf.FieldMask": lambda message, _: ",".join(message.paths),
    "google.protobuf.Any": _any,
    "confluent.type.Decimal": lambda message, _: decimal(message.value, message.scale),
    "google.protobuf.Struct": _struct,
    "google.protobuf.ListValue": _list,
    "google.protobuf.Value": _dynamic,
    **{
        f"google.protobuf.{kind}Value": _wrapped
        for kind in ("Double", "Float", "Int64", "UInt64", "Int32", "UInt32", "Bool", "String", "Bytes")
    },
}
