"""One value in each format and of each type, and what it must be wherever it is named: a generated table.

A row's `plain` is the value in the sample's body, as JSON; `t_ms` is what it is as a time, None where it is none. The
values are written by the formats' own libraries, from what is stored: no logical type helps to write them.
"""

import json
from collections.abc import Iterator
from decimal import Decimal
from functools import cache
from io import BytesIO
from typing import Any, NamedTuple
from uuid import UUID

import msgspec
from fastavro import parse_schema, schemaless_writer
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

from streams.formats import content
from streams.formats.avro import avro
from streams.formats.content import Format
from streams.formats.protobuf import protobuf

AT = 1_790_000_000_123
WHO = UUID(int=5)
K = descriptor_pb2.FieldDescriptorProto
FILES = (any_pb2, duration_pb2, empty_pb2, field_mask_pb2, struct_pb2, timestamp_pb2, wrappers_pb2)
PLACES = ("v", "o.v", "m.v")


class Row(NamedTuple):
    """`stored` as a format's library takes it; `type` is the format's."""

    format: str
    type: Any
    stored: Any
    plain: Any
    t_ms: int | None = None

    def __str__(self) -> str:
        kind = self.type.get("logicalType", self.type["type"]) if isinstance(self.type, dict) else self.type
        return f"{self.format} {kind}"


def _logical(kind: str, logical: str, **more: Any) -> dict[str, Any]:
    return {"type": kind, "logicalType": logical, **more} | ({"name": "F"} if kind == "fixed" else {})


AVRO = [
    Row("avro", "string", "é", "é"),
    Row("avro", "int", -7, -7, -7),
    Row("avro", "long", (1 << 53) + 1, (1 << 53) + 1, (1 << 53) + 1),
    Row("avro", "double", 1.5, Decimal("1.5"), 1),
    Row("avro", "float", 0.25, Decimal("0.25"), 0),
    Row("avro", "boolean", True, True),
    Row("avro", "bytes", b"\xff\0", "/wA="),
    Row("avro", {"type": "fixed", "name": "F", "size": 2}, b"\xff\0", "/wA="),
    Row("avro", {"type": "enum", "name": "En", "symbols": ["A", "B"]}, "B", "B"),
    Row("avro", _logical("bytes", "decimal", precision=38, scale=2), b"\xff\x6a", Decimal("-1.50"), -2),
    Row("avro", _logical("bytes", "decimal", precision=38), (10**30).to_bytes(13, "big"), 10**30),
    Row("avro", _logical("fixed", "decimal", precision=4, scale=1, size=2), b"\0\x0f", Decimal("1.5"), 1),
    Row("avro", _logical("bytes", "big-decimal"), b"\x04\x04\xd2\x04", Decimal("12.34"), 12),
    Row("avro", _logical("string", "uuid"), str(WHO).upper(), str(WHO)),
    Row("avro", _logical("fixed", "uuid", size=16), WHO.bytes, str(WHO)),
    Row("avro", _logical("int", "date"), -1, "1969-12-31"),
    Row("avro", _logical("int", "time-millis"), 86_399_999, "23:59:59.999000"),
    Row("avro", _logical("long", "time-micros"), 1, "00:00:00.000001"),
    Row("avro", _logical("fixed", "duration", size=12), b"\1\0\0\0\2\0\0\0\x0c\x0b\0\0", "P1M2DT2.828S"),
    *(
        Row("avro", _logical("long", f"{zone}timestamp-{unit}"), AT * parts + parts - 1, AT, AT)
        for zone in ("", "local-")
        for unit, parts in (("millis", 1), ("micros", 1_000), ("nanos", 1_000_000))
    ),
    Row("avro", _logical("long", "timestamp-millis"), (1 << 63) - 1, (1 << 63) - 1, (1 << 63) - 1),
    Row("avro", _logical("long", "timestamp-micros"), -1, -1, -1),
    Row("avro", _logical("string", "timestamp-millis"), "not fitting", "not fitting"),
    Row("avro", _logical("long", "of ours"), 5, 5, 5),
]


def _value(**kinds: Any) -> Any:
    return struct_pb2.Value(**kinds)


def _any(message: Any) -> any_pb2.Any:
    packed = any_pb2.Any()
    packed.Pack(message)
    return packed


PROTOBUF = [
    Row("protobuf", "string", "é", "é"),
    *(Row("protobuf", kind, 7, 7, 7) for kind in ("int32", "sint32", "sfixed32", "uint32", "fixed32")),
    *(Row("protobuf", kind, AT, AT, AT) for kind in ("int64", "sint64", "sfixed64", "uint64", "fixed64")),
    Row("protobuf", "uint64", (1 << 64) - 1, (1 << 64) - 1, (1 << 64) - 1),
    Row("protobuf", "double", 1.5, Decimal("1.5"), 1),
    Row("protobuf", "float", 0.25, Decimal("0.25"), 0),
    Row("protobuf", "bool", True, True),
    Row("protobuf", "bytes", b"\xff\0", "/wA="),
    Row("protobuf", "enum", 1, "AD"),
    Row("protobuf", "enum", 5, 5, 5),
    *(
        Row("protobuf", f"{kind}Value", getattr(wrappers_pb2, f"{kind}Value")(value=7), 7, 7)
        for kind in ("Int32", "UInt32", "Int64", "UInt64")
    ),
    Row("protobuf", "UInt64Value", wrappers_pb2.UInt64Value(value=AT), AT, AT),
    Row("protobuf", "DoubleValue", wrappers_pb2.DoubleValue(value=1.5), Decimal("1.5"), 1),
    Row("protobuf", "FloatValue", wrappers_pb2.FloatValue(value=0.25), Decimal("0.25"), 0),
    Row("protobuf", "BoolValue", wrappers_pb2.BoolValue(value=False), False),
    Row("protobuf", "StringValue", wrappers_pb2.StringValue(value="a"), "a"),
    Row("protobuf", "BytesValue", wrappers_pb2.BytesValue(value=b"\xff\0"), "/wA="),
    Row("protobuf", "Timestamp", timestamp_pb2.Timestamp(seconds=AT // 1_000, nanos=123_999_999), AT, AT),
    Row("protobuf", "Timestamp", timestamp_pb2.Timestamp(seconds=-1, nanos=999_999_999), -1, -1),
    Row("protobuf", "Duration", duration_pb2.Duration(seconds=1, nanos=500_000_000), "1.500s"),
    Row("protobuf", "FieldMask", field_mask_pb2.FieldMask(paths=["user_id", "a.b"]), "user_id,a.b"),
    Row("protobuf", "Empty", empty_pb2.Empty(), {}),
    Row("protobuf", "Value", _value(number_value=7), 7, 7),
    Row("protobuf", "Value", _value(number_value=1.5), Decimal("1.5"), 1),
    Row("protobuf", "Value", _value(string_value="a"), "a"),
    Row("protobuf", "Value", _value(bool_value=True), True),
    Row("protobuf", "Value", _value(null_value=0), None),
    Row("protobuf", "ListValue", struct_pb2.ListValue(values=[_value(number_value=7), _value()]), [7, None]),
    Row("protobuf", "Struct", struct_pb2.Struct(fields={"a": _value(number_value=7)}), {"a": 7}),
    Row(
        "protobuf",
        "Any",
        _any(wrappers_pb2.Int64Value(value=7)),
        {"@type": "type.googleapis.com/google.protobuf.Int64Value", "value": 7},
    ),
    Row(
        "protobuf", "Any", any_pb2.Any(type_url="x/not.There", value=b"\xff"), {"@type": "x/not.There", "value": "/w=="}
    ),
]
MSGPACK = [
    Row("msgpack", "str", "é", "é"),
    Row("msgpack", "uint64", (1 << 64) - 1, (1 << 64) - 1, (1 << 64) - 1),
    Row("msgpack", "float", 1.5, Decimal("1.5"), 1),
    Row("msgpack", "bool", False, False),
    Row("msgpack", "bin", b"\xff\0", "/wA="),
    Row("msgpack", "nil", None, None),
    Row("msgpack", "array", [b"\xff", {1: None}], ["/w==", {"1": None}]),
    Row("msgpack", "timestamp 32", msgspec.msgpack.Ext(-1, (AT // 1_000).to_bytes(4, "big")), AT - 123, AT - 123),
    Row(
        "msgpack",
        "timestamp 64",
        msgspec.msgpack.Ext(-1, (123_999_400 << 34 | AT // 1_000).to_bytes(8, "big")),
        AT,
        AT,
    ),
    Row(
        "msgpack",
        "timestamp 96",
        msgspec.msgpack.Ext(-1, (999_999_400).to_bytes(4, "big") + (-1).to_bytes(8, "big", signed=True)),
        -1,
        -1,
    ),
]
JSON = [
    Row("json", "text", "é", "é"),
    Row("json", "whole", (1 << 70) + 1, (1 << 70) + 1, (1 << 70) + 1),
    Row("json", "float", 1.5, Decimal("1.5"), 1),
    Row("json", "exponent", 1e3, Decimal("1000.0"), 1_000),
    Row("json", "boolean", True, True),
    Row("json", "null", None, None),
    Row("json", "list", [1, None], [1, None]),
    Row("json", "object", {"a": 1}, {"a": 1}),
]
ROWS = [*AVRO, *PROTOBUF, *MSGPACK, *JSON, *(row._replace(format="json_schema") for row in JSON)]


def written(row: Row, *, optional: bool) -> tuple[Format, bytes]:
    """Return the format, and an event {v, o: {v}, m: {v}, l: [v]} with the row's value in each place."""
    return WRITERS[row.format](row, optional)


def _avro(row: Row, optional: bool) -> tuple[Format, bytes]:
    name = row.type.get("name") if isinstance(row.type, dict) else None
    again = name or row.type  # a named type is defined once

    def maybe(kind: Any) -> Any:
        return ["null", kind] if optional else kind

    inner = {"type": "record", "name": "O", "fields": [{"name": "v", "type": maybe(again)}]}
    fields = [
        {"name": "v", "type": maybe(row.type)},
        {"name": "o", "type": maybe(inner)},
        {"name": "m", "type": {"type": "map", "values": maybe(again)}},
        {"name": "l", "type": {"type": "array", "items": maybe(again)}},
    ]
    schema = {"type": "record", "name": "E", "fields": fields}
    return avro(schema=schema), avro_bytes(schema, _event(row))


def avro_bytes(schema: Any, stored: Any) -> bytes:
    """Return what is stored by a schema, without its logical types."""
    stream = BytesIO()
    schemaless_writer(stream, parse_schema(_bare(schema)), stored)
    return stream.getvalue()


def _bare(schema: Any) -> Any:
    if isinstance(schema, list):
        return [_bare(one) for one in schema]
    if isinstance(schema, dict):
        return {key: _bare(one) for key, one in schema.items() if key != "logicalType"}
    return schema


@cache
def _message(kind: str, optional: bool) -> Any:
    file = descriptor_pb2.FileDescriptorProto(name=f"{kind}{optional}.proto", package="shop", syntax="proto3")
    file.dependency.extend(one.DESCRIPTOR.name for one in FILES)
    values = file.enum_type.add(name="Enum").value
    values.add(name="NONE", number=0)
    values.add(name="AD", number=1)
    inner, event = file.message_type.add(name="O"), file.message_type.add(name="E")
    entry = event.nested_type.add(name="MEntry")
    entry.options.map_entry = True
    entry.field.add(name="key", number=1, type=K.TYPE_STRING, label=K.LABEL_OPTIONAL)
    for owner, name, number, label in (
        (inner, "v", 1, K.LABEL_OPTIONAL),
        (event, "v", 1, K.LABEL_OPTIONAL),
        (event, "l", 2, K.LABEL_REPEATED),
        (entry, "value", 2, K.LABEL_OPTIONAL),
    ):
        field = owner.field.add(name=name, number=number, label=label, **_field_type(kind))
        if optional and label == K.LABEL_OPTIONAL and owner is not entry:
            field.proto3_optional, field.oneof_index = True, 0
            owner.oneof_decl.add(name=f"_{name}")
    event.field.add(name="o", number=3, type=K.TYPE_MESSAGE, type_name=".shop.O", label=K.LABEL_OPTIONAL)
    event.field.add(name="m", number=4, type=K.TYPE_MESSAGE, type_name=".shop.E.MEntry", label=K.LABEL_REPEATED)
    pool = descriptor_pool.DescriptorPool()
    for one in FILES:
        pool.AddSerializedFile(one.DESCRIPTOR.serialized_pb)
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("shop.E"))


def _field_type(kind: str) -> dict[str, Any]:
    if kind == "enum":
        return {"type": K.TYPE_ENUM, "type_name": ".shop.Enum"}
    if kind[0].isupper():
        return {"type": K.TYPE_MESSAGE, "type_name": f".google.protobuf.{kind}"}
    return {"type": getattr(K, f"TYPE_{kind.upper()}")}


def _protobuf(row: Row, optional: bool) -> tuple[Format, bytes]:
    kind = _message(row.type, optional)
    event = kind()
    if hasattr(row.stored, "SerializeToString"):
        data = row.stored.SerializeToString()
        for place in (event.v, event.o.v, event.m["v"], event.l.add()):
            place.ParseFromString(data)
            place.SetInParent()
    else:
        event.v, event.o.v, event.m["v"] = row.stored, row.stored, row.stored
        event.l.append(row.stored)
    return protobuf(message=kind), event.SerializeToString()


def _msgpack(row: Row, _: bool) -> tuple[Format, bytes]:
    return content.msgpack, msgspec.msgpack.encode(_event(row))


def _json(row: Row, _: bool) -> tuple[Format, bytes]:
    return content.json, json.dumps(_event(row)).encode()


def _json_schema(row: Row, _: bool) -> tuple[Format, bytes]:
    return content.json_schema, b"\0\0\0\0\x07" + json.dumps(_event(row)).encode()


def _event(row: Row) -> dict[str, Any]:
    return {"v": row.stored, "o": {"v": row.stored}, "m": {"v": row.stored}, "l": [row.stored]}


WRITERS = {"avro": _avro, "protobuf": _protobuf, "msgpack": _msgpack, "json": _json, "json_schema": _json_schema}


def as_id(plain: Any) -> str | None:
    """Return what a plain value is as an id: text, or a whole number's digits; None where it is none."""
    if isinstance(plain, str):
        return plain or None
    if isinstance(plain, bool) or not isinstance(plain, int | Decimal) or plain != int(plain):
        return None
    return str(int(plain))


def table() -> Iterator[tuple[Row, bool]]:
    """Yield each row, with and without a way to leave the value out."""
    for row in ROWS:
        yield row, False
        if row.format in ("avro", "protobuf"):
            yield row, True


def proto_key() -> Any:
    """Return a class of a message with one field, `id`, as keys have it."""
    file = descriptor_pb2.FileDescriptorProto(name="key.proto", package="shop", syntax="proto3")
    file.message_type.add(name="Id").field.add(name="id", number=1, type=K.TYPE_STRING)
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("shop.Id"))
