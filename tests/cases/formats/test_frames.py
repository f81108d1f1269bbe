"""What a schema registry's serializers write, in frames and in headers; and a reader's schema of Avro."""

import json as stdlib
from base64 import b64encode
from collections.abc import Iterator
from typing import Any
from uuid import UUID

import pytest

from shadowstream import fields, json, json_schema
from streams.errors import ConfigError, MalformedEvent
from streams.formats.avro import avro
from streams.formats.protobuf import protobuf
from streams.formats.registry import Registry
from tests.cases import case
from tests.cases.formats.written import avro_bytes, proto_key
from tests.clicks import record
from tests.services.registry_stub import RegistryStub, registry

GUID = UUID(bytes=b"\x11" * 16)
SCHEMA_21 = case("streams/21", "kafka-ui#643")
READER_22 = case("streams/22", "kafkajs/confluent-schema-registry#46", "avrora#103")
HEADER_22 = case("streams/22", "sql-flow#315")


def versioned(*fields: dict[str, Any]) -> dict[str, Any]:
    return {"type": "record", "name": "E", "fields": [{"name": "id", "type": "string"}, *fields]}


V1 = versioned()
V2 = versioned({"name": "y", "type": "double", "default": 0.0})
V3 = versioned({"name": "score", "type": "double", "aliases": ["y"], "default": 0.0})
VERSIONS = {1: (V1, {"id": "a"}), 2: (V2, {"id": "b", "y": 1.0}), 3: (V3, {"id": "c", "score": 2.0})}


def frame(number: int, value: bytes) -> bytes:
    return b"\0" + number.to_bytes(4, "big") + value


def named(*rest: bytes, id: bytes = b"\1" + GUID.bytes) -> tuple[str, bytes]:
    return "__value_schema_id", id + b"".join(rest)


@pytest.fixture
def stub() -> Iterator[RegistryStub]:
    with registry() as running:
        for number, (schema, _) in VERSIONS.items():
            running.add(number, stdlib.dumps(schema))
        running.add(str(GUID), stdlib.dumps(V2))
        yield running


@SCHEMA_21
def test_json_schema_is_a_format() -> None:
    value = b'{"a":"x", "y":1.50}'
    for written, header in (
        (frame(7, value), ()),
        (b"\1" + GUID.bytes + value, ()),
        (value, (named(),)),
        (value, (named(id=frame(7, b"")),)),
        (b" " + value, ()),
    ):
        event = fields(id="a", format=json_schema)(record(written, b"k", *header))
        assert (event.id, event.body.strip()) == ("x", value)
        assert fields(id="a", label="y", format=json_schema)(record(written, b"k", *header)).body == b"1.5"
    assert fields(id="a", format=json)(record(value, b"k", named())).id == "x"


@SCHEMA_21
@pytest.mark.parametrize("value", [b'{"a":"x"}', b"\x02x"])
def test_a_frame_without_its_format_is_named(value: bytes) -> None:
    for framed, schema in ((frame(7, value), "7"), (b"\1" + GUID.bytes + value, str(GUID))):
        with pytest.raises(MalformedEvent, match=rf"not JSON, but .*\(schema {schema}\): .* json_schema, avro"):
            fields(id="a")(record(framed))
        for form in (avro(schema=V2), protobuf(message=proto_key())):
            with pytest.raises(MalformedEvent, match=rf"frame \(schema {schema}\), say \w+\(registry=...\)"):
                fields(id="id", format=form)(record(framed))


@READER_22
def test_a_readers_schema_reads_all_versions(stub: RegistryStub) -> None:
    client = Registry(stub.url)
    renamed = versioned({"name": "score", "type": ["double", "null"], "aliases": ["y"], "default": -1.0})
    for schema, label, found in ((V3, "score", [0.0, 1.0, 2.0]), (renamed, "score", [-1.0, 1.0, 2.0])):
        for reader in (schema, stdlib.dumps(schema)):
            read = fields(id="id", label=label, format=avro(registry=client, schema=reader))
            events = [read(record(frame(n, avro_bytes(*VERSIONS[n])))) for n in VERSIONS]
            assert [one.id for one in events] == ["a", "b", "c"]
            assert [float(one.body) for one in events] == found
    body = fields(id="id", format=avro(registry=client, schema=V3))(record(frame(1, avro_bytes(*VERSIONS[1])))).body
    assert body == b'{"id":"a","score":0.0}'


@READER_22
def test_a_field_without_a_default_is_refused_by_name(stub: RegistryStub) -> None:
    read = fields(id="id", format=avro(registry=Registry(stub.url), schema=versioned({"name": "z", "type": "int"})))
    with pytest.raises(MalformedEvent, match="No default value for field z in E"):
        read(record(frame(1, avro_bytes(*VERSIONS[1]))))


F16 = {"type": "fixed", "name": "F16", "size": 16, "logicalType": "uuid"}
POINT = {"type": "record", "name": "Point", "fields": [{"name": "x", "type": "int", "default": 7}]}


@READER_22
@pytest.mark.parametrize(
    ("kind", "default", "plain"),
    [
        ({"type": "long", "logicalType": "timestamp-micros"}, 1_790_000_000_123_999, 1_790_000_000_123),
        (["null", {"type": "long", "logicalType": "timestamp-millis"}], None, None),
        ([{"type": "long", "logicalType": "timestamp-nanos"}, "null"], 1_999_999, 1),
        ({"type": "bytes", "logicalType": "decimal", "precision": 4, "scale": 2}, "\u0000\u0096", 1.5),
        ("bytes", "\u00ff\u0000", "/wA="),
        (F16, "\u0000" * 15 + "\u0005", str(UUID(int=5))),
        ({"type": "int", "logicalType": "date"}, 0, "1970-01-01"),
        ({"type": "array", "items": {"type": "int", "logicalType": "date"}}, [0], ["1970-01-01"]),
        ({"type": "map", "values": "bytes"}, {"a": "\u00ff"}, {"a": "/w=="}),
        (POINT, {}, {"x": 7}),
        ({"type": "enum", "name": "En", "symbols": ["A"]}, "A", "A"),
        (["string", "int"], "a", "a"),
        (["null", "string"], None, None),
        ("boolean", True, True),
    ],
)
def test_a_default_is_what_the_value_itself_would_be(stub: RegistryStub, kind: Any, default: Any, plain: Any) -> None:
    form = avro(registry=Registry(stub.url), schema=versioned({"name": "v", "type": kind, "default": default}))
    for _ in range(2):
        body = fields(id="id", format=form)(record(frame(1, avro_bytes(*VERSIONS[1])))).body
        assert stdlib.loads(body) == {"id": "a", "v": plain}


@READER_22
@pytest.mark.parametrize(
    ("writer", "reader", "stored", "plain"),
    [
        ("int", "long", 7, 7),
        ("int", "double", 7, 7.0),
        ("long", {"type": "long", "logicalType": "timestamp-micros"}, 1_999, 1),
        ({"type": "long", "logicalType": "timestamp-micros"}, "long", 1_999, 1_999),
        ({"type": "long", "logicalType": "timestamp-millis"}, ["null", "long"], 5, 5),
        ("string", {"type": "string", "logicalType": "uuid"}, str(UUID(int=10)).upper(), str(UUID(int=10))),
        ("bytes", "string", b"a", "a"),
        ("string", "bytes", "a", "YQ=="),
        (["null", "int"], ["null", "long"], 7, 7),
        (["null", F16], ["null", F16], UUID(int=5).bytes, str(UUID(int=5))),
        (["null", "int"], "int", 7, 7),
        ({"type": "array", "items": "int"}, {"type": "array", "items": "double"}, [1], [1.0]),
    ],
)
def test_the_readers_type_counts(stub: RegistryStub, writer: Any, reader: Any, stored: Any, plain: Any) -> None:
    old = versioned({"name": "v", "type": writer})
    stub.add(9, stdlib.dumps(old))
    form = avro(registry=Registry(stub.url), schema=versioned({"name": "v", "type": reader}))
    body = fields(id="id", format=form)(record(frame(9, avro_bytes(old, {"id": "a", "v": stored})))).body
    assert stdlib.loads(body) == {"id": "a", "v": plain}


@HEADER_22
def test_a_schema_named_in_a_header(stub: RegistryStub) -> None:
    value, read = avro_bytes(*VERSIONS[2]), fields(id="id", label="y", format=avro(registry=Registry(stub.url)))
    for written, headers in (
        (value, (named(),)),
        (value, (named(id=frame(2, b"")),)),
        (b"\1" + GUID.bytes + value, ()),
        (frame(2, value), (("__key_schema_id", b"\1" + GUID.bytes),)),
    ):
        assert read(record(written, b"k", *headers))[::2] == ("b", b"1.0")
    assert stub.asked == [f"/schemas/guids/{GUID}", "/schemas/ids/2"]


@HEADER_22
def test_a_format_without_a_registry_names_the_header() -> None:
    for form in (json, avro(schema=V2)):
        with pytest.raises(MalformedEvent, match="; the header '__value_schema_id' names a schema: a format for it is"):
            fields(id="id", format=form)(record(avro_bytes(V1, {"id": "a"}), b"k", named()))


@HEADER_22
def test_protobuf_has_the_path_to_its_message_in_the_header_too(stub: RegistryStub) -> None:
    kind = proto_key()
    stub.add(str(GUID), b64encode(kind.DESCRIPTOR.file.serialized_pb).decode(), "PROTOBUF")
    read = fields(id="id", format=protobuf(registry=Registry(stub.url)))
    value = kind(id="o9").SerializeToString()
    assert read(record(value, b"k", named(b"\0"))).id == "o9"
    assert read(record(b"\1" + GUID.bytes + b"\0" + value)).id == "o9"
    with pytest.raises(MalformedEvent, match="cut short"):
        read(record(value, b"k", named()))


@HEADER_22
def test_a_header_that_names_no_schema(stub: RegistryStub) -> None:
    read = fields(id="id", format=avro(registry=Registry(stub.url)))
    for header, reason in (
        (b"", "header '__value_schema_id' is not in the registry's wire format"),
        (b"\1" + GUID.bytes[:15], "wire format"),
        (b"\1" + UUID(int=9).bytes, f"the registry has no schemas/guids/{UUID(int=9)}"),
    ):
        with pytest.raises(MalformedEvent, match=reason):
            read(record(b"", b"k", ("__value_schema_id", header)))
    stub.failing = (404, b"<html>")
    with pytest.raises(ConfigError, match="a GUID, which registries know since version 8"):
        read(record(b"", b"k", named(id=b"\1" + UUID(int=8).bytes)))


@case("streams/06", "mercari/pipeline#122", "risingwave#8730")
def test_a_time_that_a_registrys_schema_knows_refuses_a_unit(stub: RegistryStub) -> None:
    timed = versioned({"name": "at", "type": ["null", {"type": "long", "logicalType": "timestamp-micros"}]})
    stub.add(9, stdlib.dumps(timed))
    form = avro(registry=Registry(stub.url))
    event = record(frame(9, avro_bytes(timed, {"id": "a", "at": 1_790_000_000_123_999})))
    assert fields(id="id", t="at", format=form)(event).t_ms == 1_790_000_000_123
    for unit in ("s", "ms", "us", "ns", "iso"):
        with pytest.raises(
            MalformedEvent, match=f"field 'at' is of a type that knows its unit: leave t_unit = '{unit}'"
        ):
            fields(id="id", t="at", t_unit=unit, format=form)(event)
