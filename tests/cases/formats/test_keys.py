"""A key or header is read as what wrote it: text, Kafka's serializers, a registry's frame; anything else is named."""

import json as stdlib
import struct
from base64 import b64encode
from collections.abc import Callable
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shadowstream import KEY, fields, header, json, json_schema, key, msgpack
from streams.errors import ConfigError, MalformedEvent
from streams.formats.avro import avro
from streams.formats.protobuf import protobuf
from streams.formats.registry import Registry
from streams.readers import json_outcome, json_request
from streams.texts import CONTROL
from tests.cases import case
from tests.cases.formats.written import avro_bytes, proto_key
from tests.cases.join import NOW, Join
from tests.clicks import record
from tests.services.registry_stub import registry

KSQL = case("streams/01", "ksql#6332", "ksql#8528")
GUID = UUID(int=0x1111)


def frame(number: int, value: bytes) -> bytes:
    return b"\0" + number.to_bytes(4, "big") + value


KEYED = """
from shadowstream import KEY, Feed, fields
feed = Feed(name="{name}", prediction=fields(id=KEY, t="at"), outcome=fields(id=KEY, t="at", label="y"))
"""


@KSQL
def test_framed_keys_are_refused_by_name_and_quoted_ones_join_plain_ones(joining: Callable[..., Join]) -> None:
    join = joining("keyed", feed=KEYED)
    for n in range(5):
        text = avro_bytes("string", f"o{n}")
        join.publish(
            ("predictions", {"at": NOW}, frame(1, text)), ("outcomes", {"at": NOW + 5, "y": 1}, frame(2, text))
        )
    join.publish(("predictions", {"at": NOW}, b'"o9"'), ("outcomes", {"at": NOW + 5, "y": 1}, b"o9"))
    counted = join.settled(12)
    assert (counted["joined"], counted["predictions"], counted["outcomes"]) == (1, 1, 1)
    letters = join.letters()
    assert len(letters) == 10
    assert all("key is not text" in one and "a schema registry's frame (schema " in one for one in letters)


@KSQL
def test_framed_keys_join_where_a_registry_is_named() -> None:
    with registry() as stub:
        for number in (1, 2):
            stub.add(number, '"string"')
        stub.add(3, stdlib.dumps(ID))
        stub.add(4, b64encode(proto_key().DESCRIPTOR.file.serialized_pb).decode(), "PROTOBUF")
        stub.add(str(GUID), '"string"')
        keys = avro(registry=Registry(stub.url))
        o9 = avro_bytes("string", "o9")
        guid = ("__key_schema_id", b"\1" + GUID.bytes)
        for read, source in (
            (key(keys), record(b"{}", frame(1, o9))),
            (key(keys), record(b"{}", frame(2, o9))),
            (key(keys), record(b"{}", b"\1" + GUID.bytes + o9)),
            (key(keys), record(b"{}", o9, guid)),
            (key(keys), record(b"{}", o9, ("__key_schema_id", frame(1, b"")))),
            (key(keys, "id"), record(b"{}", frame(3, avro_bytes(ID, {"id": "o9"})))),
            (header("key", keys), record(b"{}", None, ("key", frame(1, o9)))),
            (key(protobuf(registry=Registry(stub.url)), "id"), record(b"{}", frame(4, b"\0\x0a\2o9"))),
            (key(json_schema), record(b"{}", frame(9, b'"o9"'))),
            (key(json_schema, "id"), record(b"{}", frame(9, b'{"id":"o9"}'))),
            (key(json, "id.a"), record(b"{}", b'{"id":{"a":"o9"}}')),
            (key(msgpack), record(b"{}", b"\xa2o9")),
        ):
            assert fields(id=read)(source).id == "o9"
        with pytest.raises(MalformedEvent, match=r"key must be the id, .* found an object: name its field"):
            fields(id=key(keys))(record(b"{}", frame(3, avro_bytes(ID, {"id": "o9"}))))


ID = {"type": "record", "name": "Id", "fields": [{"name": "id", "type": "string"}]}


@KSQL
def test_the_registry_of_the_values_reads_framed_keys_too() -> None:
    with registry() as stub:
        stub.add(1, '"string"')
        stub.add(2, stdlib.dumps(ID))
        value = frame(2, avro_bytes(ID, {"id": "a"}))
        for form in (avro(registry=Registry(stub.url)), avro(registry=Registry(stub.url), schema=ID)):
            read = fields(format=form)
            assert read(record(value, frame(1, avro_bytes("string", "o9")))).id == "o9"
            assert read(record(value, b"o9")).id == "o9"
            with pytest.raises(
                MalformedEvent, match=r"no schemas/ids/106692; .*the long 1790000000123 .*key\('long'\)"
            ):
                read(record(value, struct.pack(">q", 1_790_000_000_123)))


@KSQL
@pytest.mark.parametrize(
    ("serializer", "written", "id"),
    [
        ("string", b"o9", "o9"),
        ("string", b'"o9"', '"o9"'),
        ("string", b"a\x1fb", "a\x1fb"),
        ("short", struct.pack(">h", -7), "-7"),
        ("int", struct.pack(">i", 7), "7"),
        ("int", b"abcd", "1633837924"),
        ("long", struct.pack(">q", (1 << 53) + 1), str((1 << 53) + 1)),
        ("double", struct.pack(">d", 7.0), "7"),
        ("float", struct.pack(">f", -7.0), "-7"),
        ("uuid", str(UUID(int=5)).upper().encode(), str(UUID(int=5))),
        ("uuid", UUID(int=5).bytes, str(UUID(int=5))),
        ("bytes", b"\xff\0", "/wA="),
    ],
)
def test_what_kafkas_serializers_write(serializer: Any, written: bytes, id: str) -> None:
    assert fields(id=key(serializer))(record(b"{}", written)).id == id
    assert fields(id=header("h", serializer))(record(b"{}", None, ("h", written))).id == id


@KSQL
@pytest.mark.parametrize(
    ("serializer", "written", "reason"),
    [
        ("long", b"o9", "key must be as the long serializer of Kafka writes it, 8 bytes; found b'o9'"),
        ("int", struct.pack(">q", 7), "the int serializer of Kafka writes it, 4 bytes"),
        ("double", struct.pack(">d", 1.5), "must be the id, text or a whole number; found 1.5"),
        ("float", struct.pack(">f", float("nan")), "found nan"),
        ("string", b"\xff", "the string serializer of Kafka writes it, UTF-8"),
        ("uuid", b"o9", "not a UUID: 'o9'"),
        ("uuid", b"\xff", "the uuid serializer of Kafka"),
    ],
)
def test_a_key_of_another_type_is_refused_by_name(serializer: Any, written: bytes, reason: str) -> None:
    with pytest.raises(MalformedEvent, match=reason):
        fields(id=key(serializer))(record(b"{}", written))


@KSQL
@pytest.mark.parametrize(
    ("written", "reason"),
    [
        (None, "key must be the id, text or a whole number; found nothing"),
        (b"", "found ''"),
        (struct.pack(">h", 7), r"the short 7 of Kafka, say key\('short'\)"),
        (struct.pack(">i", 7), r"the int 7 \(or float .*\) of Kafka, say key\('int'\)"),
        (struct.pack(">q", 7), r"the long 7 \(or double .*\) of Kafka, say key\('long'\)"),
        (struct.pack(">d", 1.5), r"\(or double 1\.5\)"),
        (frame(7, b"\x04o9"), r"frame \(schema 7\), say key\(FORMAT\) with json_schema, avro\(registry"),
        (b"\1" + GUID.bytes + b"\x04o9", rf"frame \(schema {GUID}\)"),
        (b"\0\0\0\0\3o9 x", r"say key\(FORMAT\)"),
        (b"\xff\xfe\0", r"say key\('bytes'\)"),
        (b"o9\n", "key is not text: b'o9"),
        (b'"a\\u0000"', "key is not text"),
        (b'{"id": 7}', r"key is a JSON object: .* as key\(json, 'NAME'\), or .* key\('string'\)"),
        (b"[7, 8]", "key is a JSON list"),
    ],
)
def test_a_key_that_is_not_text_is_named_with_the_way_out(written: bytes | None, reason: str) -> None:
    for read in (fields(), fields(id=KEY, label="y")):
        with pytest.raises(MalformedEvent, match=reason):
            read(record(b'{"y":1}', written))
    if written:
        for own in (json_request, json_outcome):
            with pytest.raises(MalformedEvent, match=reason):
                own(record(b'{"label":1}', written))
        with pytest.raises(MalformedEvent, match="header 'h' is "):
            fields(id=header("h"))(record(b"{}", None, ("h", written)))


@given(st.binary(max_size=24) | st.text(max_size=8).map(str.encode))
def test_no_id_from_a_key_has_control_characters(written: bytes) -> None:
    try:
        id = fields()(record(b"{}", written)).id
    except MalformedEvent:
        return
    assert not CONTROL.search(id)
    assert written in (id.encode(), stdlib.dumps(id).encode(), stdlib.dumps(id, ensure_ascii=False).encode()) or (
        stdlib.loads(written) == id
    )


@pytest.mark.parametrize(
    ("part", "arguments", "reason"),
    [
        (key, ("text",), "key: format must be one of 'string', 'int', 'long'"),
        (key, (stdlib,), "format must be one of"),
        (key, ("long", "id"), "a long has no fields"),
        (key, (json, "a..b"), "field must be a name or a path"),
        (header, ("h", "list"), "header: format must be one of"),
        (header, ("h", None, "a"), "a text has no fields"),
        (header, ("",), "header: a name"),
    ],
)
def test_a_part_that_cannot_be(part: Callable[..., Any], arguments: tuple[Any, ...], reason: str) -> None:
    with pytest.raises(ConfigError, match=reason):
        part(*arguments)


@pytest.mark.parametrize("place", [key, lambda form: header("h", form)])
def test_a_time_in_a_key_or_header(place: Callable[..., Any]) -> None:
    at = 1_790_000_000_123
    for form, written, unit in (
        ("long", struct.pack(">q", at), None),
        ("double", struct.pack(">d", at / 1_000), "s"),
        ("string", b"%d" % at, "ms"),
        ("string", b"2026-09-21T14:13:20.123Z", "iso"),
    ):
        read = fields(id="id", t=place(form), t_unit=unit)  # type: ignore[arg-type]
        assert read(record(b'{"id":"a"}', written, ("h", written))).t_ms == at


@KSQL
def test_a_key_whose_schema_is_in_a_header_is_no_text_even_where_it_looks_so() -> None:
    looks = avro_bytes("string", "o" * 16)
    assert looks == b" " + b"o" * 16
    source = record(b'{"label":1}', looks, ("__key_schema_id", b"\1" + GUID.bytes))
    for read in (fields(), json_request, json_outcome):
        with pytest.raises(MalformedEvent, match=r"the header '__key_schema_id' names: .* say key\(FORMAT\)"):
            read(source)
    assert fields(id=key(avro(schema="string")))(source).id == "o" * 16
