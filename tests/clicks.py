"""One event in the binary formats, for tests of readers: a clicked ad, in Avro and in Protobuf."""

from datetime import UTC, datetime
from decimal import Decimal
from io import BytesIO
from typing import Any
from uuid import UUID

from fastavro import parse_schema, schemaless_writer
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, timestamp_pb2

from streams.events import Record

T = 1_360_000_000_000


def record(value: bytes | None, key: bytes | None = b"k", *headers: tuple[str, bytes]) -> Record:
    return Record("clicks", 0, 7, T, T + 1, key, value, headers)


CLICK = {
    "type": "record",
    "name": "Click",
    "fields": [
        {"name": "id", "type": "string"},
        {"name": "at", "type": {"type": "long", "logicalType": "timestamp-micros"}},
        {"name": "price", "type": {"type": "bytes", "logicalType": "decimal", "precision": 8, "scale": 2}},
        {"name": "raw", "type": ["null", "bytes"]},
        {"name": "who", "type": {"type": "string", "logicalType": "uuid"}},
        {"name": "y", "type": "boolean"},
    ],
}
CLICKED = {"id": "a", "at": datetime.fromtimestamp(T / 1_000, UTC), "price": Decimal("1.50"), "raw": b"\xff"} | {
    "who": UUID(int=1),
    "y": True,
}
PLAIN = {"id": "a", "at": T, "price": 1.5, "raw": "/w==", "who": str(UUID(int=1)), "y": True}


def written(schema: Any, value: Any) -> bytes:
    stream = BytesIO()
    schemaless_writer(stream, parse_schema(schema), value)
    return stream.getvalue()


def proto() -> descriptor_pb2.FileDescriptorProto:
    """A file with two messages; `Outer.Click` is the second's nested one."""
    file = descriptor_pb2.FileDescriptorProto(name="click.proto", package="shop", syntax="proto3")
    file.dependency.append("google/protobuf/timestamp.proto")
    file.message_type.add(name="Aside")
    click = file.message_type.add(name="Outer").nested_type.add(name="Click")
    kind = descriptor_pb2.FieldDescriptorProto
    click.field.add(name="id", number=1, type=kind.TYPE_INT64)
    click.field.add(name="at", number=2, type=kind.TYPE_MESSAGE, type_name=".google.protobuf.Timestamp")
    click.field.add(name="raw", number=3, type=kind.TYPE_BYTES, label=kind.LABEL_REPEATED)
    click.field.add(name="kind", number=4, type=kind.TYPE_ENUM, type_name=".shop.Kind")
    click.field.add(name="y", number=5, type=kind.TYPE_BOOL)
    values = file.enum_type.add(name="Kind").value
    values.add(name="NONE", number=0)
    values.add(name="AD", number=1)
    return file


def click_class() -> Any:
    pool = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(timestamp_pb2.DESCRIPTOR.serialized_pb)
    pool.Add(proto())
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("shop.Outer.Click"))


def clicked() -> bytes:
    made = click_class()(id=1 << 60, raw=[b"\xff"], kind=1)
    made.at.FromMilliseconds(T)
    return bytes(made.SerializeToString())
