"""Avro values, by one schema or by a registry's; needs the extra `registry`.

Owns which schemas are read: none by which a few hostile bytes exhaust stack or memory. A reader's schema beside a
registry resolves what each writer's schema left out or named otherwise. Does not know which fields matter.
"""

import json
from collections.abc import Mapping, Sequence
from io import BytesIO
from typing import Any

from streams.errors import ConfigError, MalformedEvent
from streams.formats.content import Format, Headers, as_json, fields_of
from streams.formats.plain import MOST_NESTED, TOO_DEEP
from streams.formats.registry import Id, Known, Registry, Schema, check_registry, identified
from streams.texts import KEY_HEADER, VALUE_HEADER, frame_of

try:
    from fastavro import parse_schema, schemaless_reader
    from fastavro.schema import SchemaParseException

    from streams.formats.defaults import set_defaults
    from streams.formats.logical import hooked, is_moment, without_hooks
except ModuleNotFoundError:
    raise ConfigError("Avro needs fastavro: pip install 'shadowstream[registry]'") from None


def avro(*, schema: Mapping[str, Any] | str | None = None, registry: Registry | None = None) -> Format:
    """Read Avro: framed values by the schemas of a `registry`, or bare values by one `schema`.

    With both, `schema` is the reader's: fields that a writer did not know have its defaults, others its names by its
    aliases.

    Raises:
        ConfigError: neither of the two, or the schema is not Avro, or is refused, or the registry is no `Registry`.
    """
    if schema is None and registry is None:
        raise ConfigError("avro: give a schema, a registry, or both")
    check_registry("avro", registry)
    named: dict[str, Any] = {}
    reader = None if schema is None else _own(schema, named, reads=registry is not None)

    def knows_unit(path: Sequence[str]) -> bool:
        return reader is not None and is_moment(reader, path, named)

    if registry is None:
        return Format(
            lambda value, _: fields_of(_bare(value, reader)),
            as_json,
            lambda value, _: _bare(value, reader),
            knows_unit=knows_unit,
        )
    known = Known(lambda number: _registered(registry, number, resolved=reader is not None))

    def framed(value: bytes, headers: Headers, name: str, reader: Any) -> Any:
        number, rest, _ = identified(value, headers, name)
        return _read(rest, known(number), reader)

    return Format(
        lambda value, headers: fields_of(framed(value, headers, VALUE_HEADER, reader)),
        as_json,
        lambda value, headers: framed(value, headers, KEY_HEADER, reader),
        lambda value, headers: framed(value, headers, KEY_HEADER, None),
        knows_unit,
    )


def _own(schema: Mapping[str, Any] | str, named: dict[str, Any], *, reads: bool) -> Any:
    """Return a user's schema; one that reads what others wrote needs its defaults."""
    if not isinstance(schema, str | list | Mapping):
        raise ConfigError(f"avro: schema must be a dict, or its JSON text, got {type(schema).__name__}")
    try:
        text = schema if isinstance(schema, str) and schema.lstrip()[:1] in ("{", "[", '"') else json.dumps(schema)
        return _parsed(Schema("AVRO", text, ()), named, resolved=reads)
    except (MalformedEvent, TypeError, ValueError) as wrong:
        file = isinstance(schema, str) and schema.endswith((".avsc", ".json"))
        hint = "; schema is the text of a schema: read its file with pathlib.Path(FILE).read_text()" if file else ""
        raise ConfigError(f"avro: {wrong}{hint}") from None


def _registered(registry: Registry, number: Id, *, resolved: bool) -> Any:
    schema = registry.schema(number)
    if schema.kind != "AVRO":
        raise MalformedEvent(f"schema {number} is {schema.kind}, not AVRO")
    return _parsed(schema, {}, resolved=resolved)


def _parsed(schema: Schema, named: dict[str, Any], *, resolved: bool) -> Any:
    """Parse a schema, and add its types to the `named`; `resolved`: a writer's and a reader's schema come together."""
    try:
        for text in (*(text for _, text in schema.imports), schema.text):
            parse_schema(document := json.loads(text), named_schemas=dict(named))
            parsed = parse_schema(hooked(document, every=resolved), named_schemas=named)
            _refuse_unbounded(parsed, named, frozenset())
            if resolved:
                set_defaults(parsed, named)
    except KeyError as missing:
        raise MalformedEvent(f"not an Avro schema: a type in it has no {missing}") from None
    except TypeError:
        raise MalformedEvent("not an Avro schema: a type in it is no name, no object and no list of such") from None
    except (SchemaParseException, ValueError, RecursionError) as wrong:
        raise MalformedEvent(f"not an Avro schema: {type(wrong).__name__}: {without_hooks(str(wrong))}") from None
    return parsed


def _refuse_unbounded(schema: Any, named: Mapping[str, Any], inside: frozenset[str], levels: int = MOST_NESTED) -> None:
    """Refuse a schema by which few bytes can nest without end, which crashes the decoder, or list items without end."""
    if isinstance(schema, str) and schema in named:
        if schema in inside:
            raise MalformedEvent(f"the Avro schema is recursive in {schema!r}, which is not supported")
        return _refuse_unbounded(named[schema], named, inside, levels)
    if isinstance(schema, dict) and schema["type"] in ("record", "error", "array", "map"):
        inside |= {schema.get("name", "")}
        levels -= 1
        if levels < 0:
            raise MalformedEvent(f"the Avro schema is {TOO_DEEP}")
        if schema["type"] == "array" and _empty(schema["items"], named):
            raise MalformedEvent("the Avro schema has an array of items without bytes, which is not supported")
    for part in _parts(schema):
        _refuse_unbounded(part, named, inside, levels)


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


def _bare(value: bytes, schema: Any) -> Any:
    try:
        return _read(value, schema, None)
    except MalformedEvent as wrong:
        if frame := frame_of(value):
            raise MalformedEvent(f"{wrong}; if it has {frame}, say avro(registry=...)") from None
        raise


CUT = "the bytes end within a value, or a length is negative"
BEYOND = "an index is beyond a union's types or an enum's symbols"


def _read(value: bytes, schema: Any, reader: Any) -> Any:
    stream = BytesIO(value)
    try:
        event = schemaless_reader(stream, schema, reader)
    except MalformedEvent:
        raise
    except (EOFError, IndexError) as wrong:
        raise MalformedEvent(f"not Avro of the schema: {CUT if isinstance(wrong, EOFError) else BEYOND}") from None
    except Exception as wrong:  # noqa: BLE001 the decoder may raise anything on bytes that are not Avro
        why = f"{type(wrong).__name__}: {without_hooks(str(wrong))}"
        raise MalformedEvent(f"not Avro of the schema: {why}") from None
    if stream.tell() != len(value):
        raise MalformedEvent(f"not Avro of the schema: {len(value) - stream.tell()} bytes are left over")
    return event
