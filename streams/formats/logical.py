"""What each logical type of Avro becomes, while a value is decoded: a hook on each type that needs a conversion.

Owns the table of logical types. Hooks have a name of their own, so that a
user's own use of fastavro sees nothing of them. Does not know which schemas are read.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from functools import cache
from io import BytesIO
from typing import Any

from fastavro.read import LOGICAL_READERS

from streams.errors import MalformedEvent
from streams.formats import plain

HOOK = "shadowstream-plain"
OF = "shadowstream-of"  # a hooked type's key in `CONVERSIONS`
HOOKED = ("int", "long", "float", "double", "string", "bytes", "fixed")
Convert = Callable[[Any, Mapping[str, Any]], Any]


def _big_decimal(value: bytes) -> Decimal:
    """Return a decimal that brings its scale: the unscaled value as Avro's bytes, and the scale as an int."""
    stream = BytesIO(value)
    unscaled = stream.read(_varint(stream))
    return plain.decimal(unscaled, _varint(stream))


def _varint(stream: BytesIO) -> int:
    number = 0
    for part in range(5):
        byte = (stream.read(1) or b"\x80")[0]
        number |= (byte & 0x7F) << 7 * part
        if byte < 0x80:
            return (number >> 1) ^ -(number & 1)
    raise MalformedEvent("not Avro of the schema: a big-decimal is cut short")


def _moments(in_a_ms: int) -> Convert:
    return lambda value, _: plain.moment(value, in_a_ms) if in_a_ms > 1 else plain.Ms(value)


CONVERSIONS: dict[str, Convert] = {
    "bytes": lambda value, _: plain.base64(value),
    "fixed": lambda value, _: plain.base64(value),
    "bytes decimal": lambda value, of: plain.decimal(value, of.get("scale") or 0),
    "fixed decimal": lambda value, of: plain.decimal(value, of.get("scale") or 0),
    "bytes big-decimal": lambda value, _: _big_decimal(value),
    "string uuid": lambda value, _: plain.uuid(value),
    "fixed uuid": lambda value, _: plain.uuid(value),
    "fixed duration": lambda value, _: plain.duration(value),
    "int date": lambda value, _: plain.day(value),
    "int time-millis": lambda value, _: plain.clock(value, 1_000),
    "long time-micros": lambda value, _: plain.clock(value, 1_000_000),
    **{
        f"long {zone}timestamp-{unit}": _moments(in_a_ms)
        for zone in ("", "local-")
        for unit, in_a_ms in (("millis", 1), ("micros", 1_000), ("nanos", 1_000_000))
    },
}
SIZES = {"fixed uuid": 16, "fixed duration": 12}


def hooked(schema: Any, *, every: bool) -> Any:
    """Return a schema's JSON with a hook on each type that becomes something else, or on `every` type that may."""
    if isinstance(schema, list):
        return [hooked(one, every=every) for one in schema]
    if isinstance(schema, str):
        return _hook({"type": schema}) if schema in HOOKED and (every or schema in CONVERSIONS) else schema
    if not isinstance(schema, dict) or "type" not in schema:
        return schema
    kind = schema["type"]
    if not isinstance(kind, str):
        return schema | {"type": hooked(kind, every=every)}
    if kind in HOOKED:
        return _hook(schema) if every or "logicalType" in schema or kind in CONVERSIONS else schema
    inner = {key: hooked(schema[key], every=every) for key in ("items", "values") if key in schema}
    if isinstance(fields := schema.get("fields"), list):
        inner["fields"] = [
            field | {"type": hooked(field["type"], every=every)}
            if isinstance(field, dict) and "type" in field
            else field
            for field in fields
        ]
    return schema | inner


def _hook(schema: dict[str, Any]) -> dict[str, Any]:
    """Put the hook on one type; a logical type that does not fit its type is left out, as Avro says."""
    kind, logical = schema["type"], f"{schema['type']} {schema.get('logicalType', '')}"
    fits = logical in CONVERSIONS and SIZES.get(logical) in (None, schema.get("size"))
    return schema | {"logicalType": HOOK, OF: logical if fits else kind}


def converted(value: Any, writer: Any, reader: Any = None) -> Any:
    """Convert a decoded value by the reader's type, where there is one, else by the writer's.

    Where both are logical, the writer's unit or scale is the one that the value was written in.
    """
    of: Mapping[str, Any] = writer
    if isinstance(reader, Mapping):
        family, wanted = _family(writer.get(OF, "")), _family(reader.get(OF, ""))
        if family and wanted and family != wanted:
            raise MalformedEvent(
                f"not Avro of the schema: its writer wrote a {writer[OF].split()[1]}, and the reader's schema says "
                f"{reader[OF].split()[1]}"
            )
        if not (family and wanted):
            of, value = reader, _promoted(value, reader["type"])
    convert = CONVERSIONS.get(of.get(OF, ""))
    return convert(value, of) if convert else value


@cache
def _family(of: str) -> str:
    """Return what a logical type is whatever its unit, size or scale; nothing where a type is not logical."""
    return of.partition(" ")[2].removeprefix("local-").removeprefix("big-").partition("-")[0]


def _promoted(value: Any, kind: str) -> Any:
    """Return a value in the reader's type, where the writer's was a narrower one."""
    if kind in ("float", "double"):
        return float(value)
    if kind == "string" and isinstance(value, bytes):
        return value.decode()
    return value.encode() if kind == "bytes" and isinstance(value, str) else value


for _kind in HOOKED:
    LOGICAL_READERS[f"{_kind}-{HOOK}"] = converted


def without_hooks(text: str) -> str:
    """Return the text of an error that shows schemas, with these as the user wrote them."""
    return HOOKS.sub(lambda found: f"'logicalType': '{found[1]}', " if found[1] else "", text)


HOOKS = re.compile(rf"'logicalType': '{HOOK}', '{OF}': '\w+(?: ([\w-]+))?', ")


def is_moment(schema: Any, path: Sequence[str], named: Mapping[str, Any]) -> bool:
    """Return whether the field of a path is a timestamp by a parsed schema, where it is there."""
    if isinstance(schema, str):
        return schema in named and is_moment(named[schema], path, named)
    if isinstance(schema, list):
        return any(is_moment(one, path, named) for one in schema)
    if isinstance(kind := schema["type"], dict | list):
        return is_moment(kind, path, named)
    if not path:
        return "timestamp-" in schema.get(OF, "")
    if kind == "map":
        return is_moment(schema["values"], path[1:], named)
    return any(is_moment(one["type"], path[1:], named) for one in schema.get("fields", ()) if one["name"] == path[0])
