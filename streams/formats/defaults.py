"""The defaults of a reader's Avro schema: JSON by the specification, which become plain values as decoded ones do.

Owns what a default must be for its type. Does not know which schemas are read.
"""

from collections.abc import Mapping
from typing import Any

from streams.errors import MalformedEvent
from streams.formats.logical import HOOKED, converted


def set_defaults(schema: Any, named: Mapping[str, Any]) -> None:
    """Turn the defaults of a parsed schema's fields into plain values, as the decoder puts them in as they are."""
    if isinstance(schema, list):
        for one in schema:
            set_defaults(one, named)
    elif isinstance(schema, dict):
        for key in ("type", "items", "values"):
            set_defaults(schema.get(key), named)
        for field in schema.get("fields", ()):
            set_defaults(field["type"], named)
            if "default" in field:
                field["default"] = _default(field["default"], field["type"], named)


def _default(value: Any, schema: Any, named: Mapping[str, Any]) -> Any:
    """Return a default, written as JSON for a type, as a plain value."""
    if isinstance(schema, str):
        return _default(value, named[schema], named) if schema in named else value
    if isinstance(schema, list):
        return _default(value, _branch(value, schema), named)
    kind = schema["type"]
    if isinstance(kind, dict | list):
        return _default(value, kind, named)
    if kind == "array":
        return [_default(one, schema["items"], named) for one in value]
    if kind == "map":
        return {key: _default(one, schema["values"], named) for key, one in value.items()}
    if kind in ("record", "error"):
        return {field["name"]: _in_record(value, field, named) for field in schema["fields"]}
    if kind == "enum" and value not in schema["symbols"]:
        raise MalformedEvent(f"not an Avro schema: the default {value!r} is none of the symbols of {schema['name']}")
    if kind in ("bytes", "fixed"):
        value = _default_bytes(value, schema)
    return converted(value, schema) if kind in HOOKED else value


def _default_bytes(value: str, schema: Mapping[str, Any]) -> bytes:
    if max(value, default="") > "\u00ff" or len(value) != schema.get("size", len(value)):
        raise MalformedEvent(
            f"not an Avro schema: the default {value!r} is no {schema['type']}"
            f"{' of ' + str(schema['size']) if 'size' in schema else ''} bytes, each written as \\u0000 to \\u00ff"
        )
    return value.encode("latin-1")


def _in_record(value: Mapping[str, Any], field: Mapping[str, Any], named: Mapping[str, Any]) -> Any:
    if field["name"] in value:
        return _default(value[field["name"]], field["type"], named)
    if "default" not in field:
        raise MalformedEvent(f"not an Avro schema: the default {dict(value)!r} has no {field['name']!r}")
    return field["default"]


def _branch(value: Any, union: list[Any]) -> Any:
    """Return the first type of a union that a default fits."""
    for one in union:
        kind = one["type"] if isinstance(one, dict) else one
        if isinstance(value, JSON_TYPES.get(kind, object)) and isinstance(value, bool) <= (kind == "boolean"):
            return one
    return union[0]


JSON_TYPES: dict[str, Any] = {
    "null": type(None),
    "boolean": bool,
    **dict.fromkeys(("int", "long"), int),
    **dict.fromkeys(("float", "double"), (int, float)),
    **dict.fromkeys(("string", "bytes", "fixed", "enum"), str),
    "array": list,
    **dict.fromkeys(("map", "record", "error"), dict),
}
