"""Readers from field names, over every format: what they make of an event, what they refuse and in which words."""

import json as stdlib
import subprocess
import sys
from base64 import b64encode
from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import Decimal
from io import BytesIO
from pathlib import Path
from typing import Any
from uuid import UUID

import msgspec
import pytest
from fastavro import parse_schema, schemaless_writer
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, timestamp_pb2

from streams.errors import ConfigError, MalformedEvent, Unreachable
from streams.events import Event, Record
from streams.formats.avro import avro
from streams.formats.content import MOST_NESTED, json, msgpack
from streams.formats.fields import KEY, TIMESTAMP, fields, header
from streams.formats.protobuf import protobuf
from streams.formats.registry import UNKNOWN_S, Known, Registry
from tests.services.certificates import Authority
from tests.services.registry_stub import RegistryStub, registry

T = 1_360_000_000_000


def record(value: bytes | None, key: bytes | None = b"k", *headers: tuple[str, bytes]) -> Record:
    return Record("clicks", 0, 7, T, T + 1, key, value, headers)


class TestFields:
    def test_a_prediction_keeps_its_bytes_and_an_outcome_its_label(self) -> None:
        value = b' {"ad_id": "a", "shown_at": 1360000000000, "x": [1.50, {"y": null}]}\n'
        assert fields(id="ad_id", t="shown_at")(record(value)) == Event("a", T, value)
        assert fields(id="ad_id", label="x")(record(b'{"ad_id":"a","x":2}')) == Event("a", T + 1, b"2")

    def test_ids_and_times_come_from_paths_keys_and_headers_too(self) -> None:
        told = record(b'{"user":{"id":12},"at":5}', b"k\xc3\xa9", ("id", b"first"), ("id", b"last"), ("at", b"1360"))
        assert fields(id="user.id", t="at")(told)[:2] == ("12", 5)
        assert fields(id=KEY, t=TIMESTAMP, t_unit="iso")(told)[:2] == ("ké", T + 1)
        assert fields(id=header("id"), t=header("at"), t_unit="s")(told)[:2] == ("last", 1_360_000)

    @pytest.mark.parametrize(
        ("unit", "written"),
        [
            ("s", "1360000000"),
            ("s", "1360000000.0004"),
            ("ms", "1360000000000"),
            ("ms", "1.36e12"),
            ("us", "1360000000000999"),
            ("ns", "1360000000000999999"),
            ("iso", '"2013-02-04T17:46:40Z"'),
            ("iso", '"2013-02-04T19:46:40.000999+02:00"'),
        ],
    )
    def test_times_of_every_unit(self, unit: Any, written: str) -> None:
        assert fields(t="t", t_unit=unit)(record(b'{"t":%s}' % written.encode())).t_ms == T

    @pytest.mark.parametrize(
        ("written", "body"),
        [
            ("true", b"1"),
            ("false", b"0"),
            ("-2.5", b"-2.5"),
            ('"spam\\u0000"', b'"spam\\u0000"'),
            ('[1, "a", [null]]', b'[1,"a",[null]]'),
            ("1" * 400, b"1" * 400),
        ],
    )
    def test_labels(self, written: str, body: bytes) -> None:
        assert fields(label="y")(record(b'{"y":%s}' % written.encode())).body == body

    @pytest.mark.parametrize(
        ("named", "value", "reason"),
        [
            ({"id": "a.b"}, {"a": 1}, "field 'a.b' must be the id, text or a whole number; found nothing"),
            ({"id": "a"}, {"a": None}, "field 'a' must be the id, text or a whole number; found nothing"),
            ({"id": "a"}, {"a": ""}, "field 'a' must be the id, text or a whole number; found ''"),
            ({"id": "a"}, {"a": True}, "field 'a' must be the id, text or a whole number; found True"),
            ({"id": "a"}, {"a": 1.5}, "field 'a' must be the id, text or a whole number; found 1.5"),
            ({"id": "a"}, {"a": {"b": 1}}, "field 'a' must be the id, text or a whole number; found an object"),
            ({"id": header("a")}, {}, "header 'a' must be the id, text or a whole number; found nothing"),
            ({"t": "t"}, {}, "field 't' must be the time, a number; found nothing"),
            ({"t": "t"}, {"t": True}, "field 't' must be the time, a number; found True"),
            ({"t": "t"}, {"t": "x" * 99}, f"field 't' must be the time, a number; found '{'x' * 60}'"),
            ({"t": "t", "t_unit": "s"}, {"t": 1e306}, "field 't' must be the time, a number; found 1e+306"),
            (
                {"t": "t", "t_unit": "iso"},
                {"t": "2013-02-04T17:46:40"},
                "field 't' must be the time, RFC 3339 with an offset; found '2013-02-04T17:46:40'",
            ),
            ({"t": "t", "t_unit": "iso"}, {"t": 5}, "field 't' must be the time, RFC 3339 with an offset; found 5"),
            ({"label": "y"}, {}, "field 'y' must be the label, a finite number, text or a list; found nothing"),
            (
                {"label": "y"},
                {"y": {}},
                "field 'y' must be the label, a finite number, text or a list; found an object",
            ),
        ],
    )
    def test_what_is_refused_is_named(self, named: dict[str, Any], value: Any, reason: str) -> None:
        with pytest.raises(MalformedEvent) as refused:
            fields(**named)(record(stdlib.dumps(value).encode()))
        assert str(refused.value) == reason

    def test_a_key_that_is_not_there_or_not_text(self) -> None:
        for key, reason in ((None, "key must be the id"), (b"", "key must be the id"), (b"\xff", "key is not UTF-8")):
            with pytest.raises(MalformedEvent, match=reason):
                fields()(record(b"{}", key))

    @pytest.mark.parametrize(
        ("named", "reason"),
        [
            ({"id": ""}, "id must be a field's name"),
            ({"t": "a..b"}, "t must be a field's name"),
            ({"label": "y."}, "label must be a field's name"),
            ({"id": TIMESTAMP}, "not TIMESTAMP"),
            ({"t_unit": "min"}, "one of s, ms, us, ns, iso"),
        ],
    )
    def test_names_that_cannot_be(self, named: dict[str, Any], reason: str) -> None:
        with pytest.raises(ConfigError, match=reason):
            fields(**named)


class TestJson:
    @pytest.mark.parametrize(
        ("value", "reason"),
        [
            (None, "has no value"),
            (b"", "not JSON"),
            (b"[1]", "Expected `object`, got `array`"),
            (b'{"a":1', "truncated"),
            (b'{"a":1} x', "trailing characters"),
            (b'\xef\xbb\xbf{"a":1}', "invalid character"),
            (b'{"a":"\xff"}', "utf-8"),
            (b'{"\xff":1}', "utf-8"),
            (b'{"a":"\xed\xa0\x80"}', "utf-8"),
            (b'{"a":"\\ud800"}', "not JSON"),
            (b'{"a":NaN}', "invalid character"),
            (b'{"a":1e999999}', "out of range"),
            (b'{"a":' + b"1" * 100_000 + b"}", "out of range"),
            (b'{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}", "recursion"),
            (b'{"a":' + b"[" * MOST_NESTED + b"]" * MOST_NESTED + b"}", f"deeper than {MOST_NESTED}"),
            (b'{"a":' * (MOST_NESTED + 1) + b"1" + b"}" * (MOST_NESTED + 1), f"deeper than {MOST_NESTED}"),
        ],
    )
    def test_what_no_parser_could_read_back_is_refused(self, value: bytes | None, reason: str) -> None:
        with pytest.raises(MalformedEvent, match=reason):
            fields()(record(value))

    @pytest.mark.parametrize(
        "value",
        [
            b'{"a":1,"a":2}',
            b'{"a":"\\u0000{b}"}',
            b'{"a":' + b"[" * (MOST_NESTED - 2) + b"]" * (MOST_NESTED - 2) + b"}",
            b'{"a":[' + b"[]," * 1_000 + b"[]]}",
            b'{"a":"' + b"[" * 1_000 + b'"}',
        ],
    )
    def test_what_is_odd_but_json_passes(self, value: bytes) -> None:
        assert fields()(record(value)).body == value

    def test_of_a_name_given_twice_the_last_counts_here_as_in_the_sample(self) -> None:
        event = fields(id="a")(record(b'{"a":"x","a":"y"}'))
        assert event.id == stdlib.loads(event.body)["a"] == "y"


class TestMessagePack:
    def read(self, value: Any) -> Event:
        return fields(id="id", format=msgpack)(record(msgspec.msgpack.encode(value)))

    def test_binary_becomes_base64_and_a_timestamp_ms(self) -> None:
        value = {"id": "a", "raw": b"\xff\x00", "at": [datetime.fromtimestamp(1.5, UTC)], "n": None, "x": float("nan")}
        assert stdlib.loads(self.read(value).body) == {"id": "a", "raw": "/wA=", "at": [1500], "n": None, "x": None}

    def test_what_json_cannot_hold_is_refused(self) -> None:
        with pytest.raises(MalformedEvent, match="no JSON form"):
            self.read({"id": "a", "x": msgspec.msgpack.Ext(5, b"x")})
        with pytest.raises(MalformedEvent, match="finite"):
            fields(label="y", format=msgpack)(record(msgspec.msgpack.encode({"y": float("inf")})))

    @pytest.mark.parametrize("value", [b"\xdf\xff\xff\xff\xff", b"\x80\x80", b"\xc1", b"\x81\xa1a" + b"\x91" * 10_000])
    def test_noise_is_refused(self, value: bytes) -> None:
        with pytest.raises(MalformedEvent, match="not MessagePack"):
            fields(format=msgpack)(record(value))

    def test_nesting_is_refused(self) -> None:
        with pytest.raises(MalformedEvent, match="nested"):
            fields(format=msgpack)(record(b"\x81\xa1a" + b"\x91" * MOST_NESTED + b"\x01"))


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
PLAIN = {"id": "a", "at": T, "price": "1.50", "raw": "/w==", "who": str(UUID(int=1)), "y": True}


def written(schema: Any, value: Any) -> bytes:
    stream = BytesIO()
    schemaless_writer(stream, parse_schema(schema), value)
    return stream.getvalue()


class TestAvro:
    def test_logical_types_become_json(self) -> None:
        for schema in (CLICK, stdlib.dumps(CLICK)):
            event = fields(id="id", t="at", format=avro(schema=schema))(record(written(CLICK, CLICKED)))
            assert (event.id, event.t_ms, stdlib.loads(event.body)) == ("a", T, PLAIN)

    def test_noise_and_bytes_left_over_are_refused(self) -> None:
        read, value = fields(id="id", format=avro(schema=CLICK)), written(CLICK, CLICKED)
        for noise in (value[:-1], b"\xff" * 30, b"\x01a"):
            with pytest.raises(MalformedEvent, match="not Avro of the schema"):
                read(record(noise))
        with pytest.raises(MalformedEvent, match="1 bytes are left over"):
            read(record(value + b"\0"))

    @pytest.mark.parametrize(
        ("schema", "reason"),
        [
            ("{", "not an Avro schema"),
            ({"type": "record", "name": "A", "fields": [{"name": "a", "type": "B"}]}, "not an Avro schema"),
            ({"type": "record", "name": "A", "fields": [{"name": "a", "type": ["null", "A"]}]}, "recursive in 'A'"),
            (
                {
                    "type": "record",
                    "name": "A",
                    "fields": [{"name": "a", "type": {"type": "array", "items": {"type": "map", "values": "A"}}}],
                },
                "recursive in 'A'",
            ),
            (
                {"type": "record", "name": "A", "fields": [{"name": "a", "type": {"type": "array", "items": "null"}}]},
                "items without bytes",
            ),
        ],
    )
    def test_schemas_that_cannot_be(self, schema: Any, reason: str) -> None:
        with pytest.raises(ConfigError, match=reason):
            avro(schema=schema)

    def test_a_schema_or_a_registry(self) -> None:
        for make in (avro, protobuf):
            with pytest.raises(ConfigError, match="either"):
                make()


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


class TestProtobuf:
    def test_fields_without_presence_are_always_there_and_times_are_ms(self) -> None:
        form = protobuf(message=click_class())
        event = fields(id="id", t="at", format=form)(record(clicked()))
        assert stdlib.loads(event.body) == {"id": 1 << 60, "at": T, "raw": ["/w=="], "kind": "AD", "y": False}
        assert (event.id, event.t_ms) == (str(1 << 60), T)
        assert fields(label="y", format=form)(record(clicked())).body == b"0"

    def test_a_message_of_defaults_has_no_bytes_and_is_an_event(self) -> None:
        assert fields(label="y", format=protobuf(message=click_class()))(record(b"")).body == b"0"

    def test_noise_is_refused(self) -> None:
        with pytest.raises(MalformedEvent, match=r"not Protobuf of shop\.Outer\.Click"):
            fields(format=protobuf(message=click_class()))(record(b"\xff" * 9))


def frame(number: int, value: bytes) -> bytes:
    return b"\0" + number.to_bytes(4, "big") + value


@pytest.fixture
def stub() -> Iterator[RegistryStub]:
    with registry() as running:
        yield running


class TestRegistry:
    def test_avro_with_an_import_of_an_import_is_asked_for_once(self, stub: RegistryStub) -> None:
        point, place, event = (
            {"type": "record", "name": name, "fields": [{"name": "x", "type": kind}]}
            for name, kind in (("Point", "long"), ("Place", "Point"), ("Event", "Place"))
        )
        stub.add(300, stdlib.dumps(event), references=(("Place", "a/place", 2),))
        stub.add(("a/place", 2), stdlib.dumps(place), references=(("Point", "point", 1),))
        stub.add(("point", 1), stdlib.dumps(point))
        read = fields(id="x.x.x", format=avro(registry=Registry(stub.url)))
        for _ in range(3):
            found = read(record(frame(300, b"\x0a")))
            assert (found.id, found.body) == ("5", b'{"x":{"x":{"x":5}}}')
        assert stub.asked == ["/schemas/ids/300", "/subjects/a%2Fplace/versions/2", "/subjects/point/versions/1"]

    def test_protobuf_by_the_path_to_its_message(self, stub: RegistryStub) -> None:
        stub.add(7, b64encode(proto().SerializeToString()).decode(), "PROTOBUF")
        read = fields(id="id", t="at", format=protobuf(registry=Registry(stub.url)))
        assert read(record(frame(7, b"\x04\x02\x00" + clicked()))).id == str(1 << 60)
        assert stub.asked == ["/schemas/ids/7?format=serialized"]
        for path, reason in (
            (b"\x04\x08\x00", "no message"),
            (b"\x80", "cut short"),
            (b"\x01", "steps"),
            (b"\x02\x01", "holds -1"),
            (b"\0", "id"),
        ):
            with pytest.raises(MalformedEvent, match=reason):
                read(record(frame(7, path + clicked() * (path == b"\0"))))

    def test_the_events_own_faults(self, stub: RegistryStub) -> None:
        stub.add(1, "syntax", "PROTOBUF")
        stub.add(2, '{"type":"record"}')
        read = fields(format=avro(registry=Registry(stub.url)))
        for value, reason in (
            (b"{}", "wire format"),
            (b"\0\0\0\0", "wire format"),
            (b"\1" + frame(1, b"")[1:], "wire format"),
            (frame(1, b""), "schema 1 is PROTOBUF, not AVRO"),
            (frame(2, b""), "not an Avro schema"),
            (frame(9, b""), "the registry has no schemas/ids/9"),
        ):
            with pytest.raises(MalformedEvent, match=reason):
                read(record(value))

    def test_an_unknown_schema_is_asked_for_again_after_a_while(self) -> None:
        asked, now = [], [0.0]

        def make(number: int) -> int:
            asked.append(number)
            raise MalformedEvent("none")

        known = Known(make, lambda: now[0])
        for time in (0.0, UNKNOWN_S - 1, UNKNOWN_S):
            now[0] = time
            with pytest.raises(MalformedEvent, match="none"):
                known(5)
        assert asked == [5, 5]

    @pytest.mark.parametrize("failing", [(500, b"{}"), (503, b""), (429, b"{}")])
    def test_a_registry_in_trouble_is_no_fault_of_the_event_and_may_come_back(
        self, stub: RegistryStub, failing: tuple[int, bytes]
    ) -> None:
        stub.add(1, stdlib.dumps(CLICK))
        read = fields(id="id", format=avro(registry=Registry(stub.url)))
        stub.failing = failing
        with pytest.raises(Unreachable, match=f"answers {failing[0]}"):
            read(record(frame(1, written(CLICK, CLICKED))))
        stub.failing = None
        assert read(record(frame(1, written(CLICK, CLICKED)))).id == "a"

    def test_nothing_there_is_unreachable(self) -> None:
        with registry() as gone:
            url = gone.url
        with pytest.raises(Unreachable, match="no schema registry answers"):
            Registry(url).schema(1)

    @pytest.mark.parametrize("failing", [(404, b"<html>"), (200, b"<html>"), (200, b"\xff"), (400, b"")])
    def test_what_is_no_registry(self, stub: RegistryStub, failing: tuple[int, bytes]) -> None:
        stub.failing = failing
        with pytest.raises(ConfigError, match="registry"):
            Registry(stub.url).schema(1)

    def test_users_and_tokens_are_sent_and_never_shown(self, stub: RegistryStub) -> None:
        stub.add(1, stdlib.dumps(CLICK))
        secret = "Shh-4711"
        for mine, sent in (
            ({"user": "me", "password": secret}, "Basic " + b64encode(f"me:{secret}".encode()).decode()),
            ({"token": secret}, f"Bearer {secret}"),
        ):
            client = Registry(stub.url, **mine)
            stub.authorization = sent
            assert client.schema(1).kind == "AVRO"
            stub.authorization = "another"
            with pytest.raises(ConfigError, match="refuses the user or token") as refused:
                client.schema(1)
            assert secret not in str(refused.value) + repr(refused.value) + repr(client)

    def test_tls_by_an_authority_of_ones_own(self, tmp_path: Path, stub: RegistryStub) -> None:
        ours, other = Authority(tmp_path, "ours"), Authority(tmp_path, "other")
        stub.secure(ours.sign("registry"))
        stub.add(1, stdlib.dumps(CLICK))
        assert Registry(stub.url, ca=ours.path).schema(1).kind == "AVRO"
        for ca in (other.path, None):
            with pytest.raises(ConfigError, match="does not vouch"):
                Registry(stub.url, ca=ca).schema(1)

    @pytest.mark.parametrize(
        ("url", "more"),
        [
            ("http://me:Shh-4711@host", {}),
            ("file:///schemas", {}),
            ("https://host?key=Shh-4711", {}),
            ("http://host", {"user": "me"}),
            ("http://host", {"user": "me", "password": "Shh-4711", "token": "Shh-4711"}),
            ("https://host", {"ca": "no/such.pem"}),
        ],
    )
    def test_what_cannot_be_is_refused_without_its_secret(self, url: str, more: dict[str, str]) -> None:
        with pytest.raises(ConfigError) as refused:
            Registry(url, **more)
        assert "Shh" not in str(refused.value)


@pytest.mark.parametrize(("form", "library"), [("avro", "fastavro"), ("protobuf", "google.protobuf")])
def test_a_missing_extra_is_named(form: str, library: str) -> None:
    without = f"import sys; sys.modules[{library!r}] = None; import streams.formats.{form}"
    ended = subprocess.run([sys.executable, "-c", without], capture_output=True, text=True)
    assert "ConfigError" in ended.stderr
    assert "pip install 'shadowstream[registry]'" in ended.stderr


def test_json_is_the_default_format() -> None:
    assert fields()(record(b"{}")) == fields(format=json)(record(b"{}"))
