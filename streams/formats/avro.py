"""Avro values, by one schema or by a registry's; needs the extra `registry`.

Owns what Avro becomes in JSON: timestamps are ms since 1970, decimals, dates, times of day and UUIDs text, bytes base64
text. Does not know which fields matter. Refuses a schema by which a few hostile bytes exhaust stack or memory.
"""

import json
from collections.abc import Mapping
from io import BytesIO
from typing import Any

from streams.errors import ConfigError, MalformedEvent
from streams.formats.content import Fields, Format, as_json, plain
from streams.formats.registry import Known, Registry, Schema, framed

try:
    from fastavro import parse_schema, schemaless_reader
    from fastavro.schema import SchemaParseException
except ModuleNotFoundError:
    raise ConfigError("Avro needs fastavro: pip install 'shadowstream[registry]'") from None


def avro(*, schema: Mapping[str, Any] | str | None = None, registry: Registry | None = None) -> Format:
    """Read Avro: bare values by one `schema`, or framed values by the schemas of a `registry`.

    Raises:
        ConfigError: not exactly one of the two, or the schema is not Avro, or is refused.
    """
    if (schema is None) == (registry is None):
        raise ConfigError("avro: give exactly one of schema and registry")
    if registry is not None:
        known = Known(lambda number: _registered(registry, number))
        return Format(lambda value: _framed(known, value), as_json)
    try:
        parsed = _parsed(Schema("AVRO", schema if isinstance(schema, str) else json.dumps(schema), ()))
    except MalformedEvent as wrong:
        raise ConfigError(f"avro: {wrong}") from None
    return Format(lambda value: _read(value, parsed), as_json)


def _framed(known: Known[Any], value: bytes) -> Fields:
    number, rest = framed(value)
    return _read(rest, known(number))


def _registered(registry: Registry, number: int) -> Any:
    schema = registry.schema(number)
    if schema.kind != "AVRO":
        raise MalformedEvent(f"schema {number} is {schema.kind}, not AVRO")
    return _parsed(schema)


def _parsed(schema: Schema) -> Any:
    try:
        named: dict[str, Any] = {}
        for _, text in schema.imports:
            parse_schema(json.loads(text), named_schemas=named)
        parsed = parse_schema(json.loads(schema.text), named_schemas=named)
        _refuse_unbounded(parsed, named, frozenset())
    except (SchemaParseException, ValueError, KeyError, TypeError, RecursionError) as wrong:
        raise MalformedEvent(f"not an Avro schema: {type(wrong).__name__}: {wrong}") from None
    return parsed


def _refuse_unbounded(schema: Any, named: Mapping[str, Any], inside: frozenset[str]) -> None:
    """Refuse a schema by which few bytes can nest without end, which crashes the decoder, or list items without end."""
    if isinstance(schema, str) and schema in named:
        if schema in inside:
            raise MalformedEvent(f"the Avro schema is recursive in {schema!r}, which is not supported")
        return _refuse_unbounded(named[schema], named, inside)
    if isinstance(schema, dict):
        inside |= {schema.get("name", "")}
        if schema["type"] == "array" and _empty(schema["items"], named):
            raise MalformedEvent("the Avro schema has an array of items without bytes, which is not supported")
    for part in _parts(schema):
        _refuse_unbounded(part, named, inside)


def _parts(schema: Any) -> list[Any]:
    if isinstance(schema, dict):
        kind = schema["type"]
        inner = [kind] if isinstance(kind, dict | list) else []
        within = [schema[key] for key in ("items", "values") if key in schema]
        return inner + within + [field["type"] for field in schema.get("fields", ())]
    return schema if isinstance(schema, list) else []


def _empty(schema: Any, named: Mapping[str, Any]) -> bool:
    """Return whether a value of the schema takes no bytes."""
    if isinstance(schema, str):
        return _empty(named[schema], named) if schema in named else schema == "null"
    if not isinstance(schema, dict):
        return False
    if schema["type"] == "fixed":
        return not schema["size"]
    if "fields" in schema:
        return all(_empty(field["type"], named) for field in schema["fields"])
    return bool(schema["type"] == "null")


def _read(value: bytes, schema: Any) -> Fields:
    stream = BytesIO(value)
    try:
        event = schemaless_reader(stream, schema, None)
    except Exception as wrong:  # noqa: BLE001 the decoder may raise anything on bytes that are not Avro
        raise MalformedEvent(f"not Avro of the schema: {type(wrong).__name__}: {wrong}") from None
    if stream.tell() != len(value):
        raise MalformedEvent(f"not Avro of the schema: {len(value) - stream.tell()} bytes are left over")
    if not isinstance(event, dict):
        raise MalformedEvent(f"an event must be a record, not {type(event).__name__}")
    return {key: plain(item) for key, item in event.items()}
