"""Siblings of the cases of formats: what is wrong is refused by name, never read as another value, and stops nobody."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from google.protobuf import any_pb2, descriptor_pb2, descriptor_pool, message_factory, timestamp_pb2, wrappers_pb2

from shadowstream import fields
from streams.errors import ConfigError, MalformedEvent
from streams.formats.avro import avro
from streams.formats.protobuf import protobuf
from streams.formats.registry import Registry
from tests.cases import case
from tests.cases.formats.test_frames import frame, versioned
from tests.cases.formats.written import AT, avro_bytes, proto_key
from tests.cases.join import NOW, Join
from tests.clicks import record
from tests.services.registry_stub import registry


def typed(kind: str, logical: str, **more: Any) -> dict[str, Any]:
    return {"type": kind, "logicalType": logical, **more}


def resolved(writer: Any, reader: Any, stored: Any, **where: Any) -> Any:
    schema = versioned({"name": "v", "type": writer})
    with registry() as stub:
        stub.add(1, json.dumps(schema))
        form = avro(registry=Registry(stub.url), schema=versioned({"name": "v", "type": reader}))
        return fields(id="id", format=form, **where)(record(frame(1, avro_bytes(schema, {"id": "a", "v": stored}))))


MILLIS, MICROS = typed("long", "timestamp-millis"), typed("long", "timestamp-micros")
NANOS, LOCAL = typed("long", "timestamp-nanos"), typed("long", "local-timestamp-micros")


@case("streams/06", "mercari/pipeline#122")
@pytest.mark.parametrize("reader", [MILLIS, MICROS, NANOS, LOCAL, ["null", MICROS], [MILLIS, "null"]])
@pytest.mark.parametrize(("writer", "parts"), [(MILLIS, 1), (MICROS, 1_000), (NANOS, 1_000_000), (LOCAL, 1_000)])
def test_a_moment_has_the_unit_that_it_was_written_in(writer: Any, parts: int, reader: Any) -> None:
    event = resolved(writer, reader, AT * parts, t="v")
    assert (event.t_ms, json.loads(event.body)["v"]) == (AT, AT)


@case("streams/22", "kafkajs/confluent-schema-registry#46")
@pytest.mark.parametrize(
    ("writer", "reader", "stored", "plain"),
    [
        (
            typed("bytes", "decimal", precision=6, scale=2),
            typed("bytes", "decimal", precision=8, scale=4),
            b"\x0f",
            0.15,
        ),
        (typed("int", "time-millis"), typed("long", "time-micros"), 1_000, "00:00:01"),
        (["null", MICROS], ["null", MILLIS], AT * 1_000, AT),
        ("long", MICROS, AT * 1_000, AT),
        (MICROS, "long", AT * 1_000, AT * 1_000),
    ],
)
def test_so_has_each_logical_type(writer: Any, reader: Any, stored: Any, plain: Any) -> None:
    assert json.loads(resolved(writer, reader, stored).body)["v"] == plain


@case("streams/22", "kafkajs/confluent-schema-registry#46")
@pytest.mark.parametrize(
    ("writer", "reader", "stored", "reason"),
    [
        (
            typed("int", "date"),
            MILLIS,
            20_000,
            "its writer wrote a date, and the reader's schema says timestamp-millis",
        ),
        (typed("int", "time-millis"), MILLIS, 7, "wrote a time-millis, and the reader's schema says timestamp-millis"),
        (MICROS, typed("long", "time-micros"), 7, "wrote a timestamp-micros, and the reader's schema says time-micros"),
        (MICROS, "string", 7, "Schema mismatch: {'logicalType': 'timestamp-micros', 'type': 'long'} is not"),
        ("double", "int", 7.0, r"Schema mismatch: {'type': 'double'} is not {'type': 'int'}"),
    ],
)
def test_what_does_not_resolve_is_named_in_the_users_words(writer: Any, reader: Any, stored: Any, reason: str) -> None:
    with pytest.raises(MalformedEvent, match=reason) as refused:
        resolved(writer, reader, stored)
    assert "shadowstream" not in str(refused.value)


@pytest.mark.parametrize(
    ("value", "reason"),
    [(b"\2a", "the bytes end within a value"), (b"\2a\6", "beyond a union's types or an enum's symbols")],
)
def test_damaged_avro_is_named(value: bytes, reason: str) -> None:
    schema = versioned({"name": "v", "type": ["null", "long"]})
    with pytest.raises(MalformedEvent, match=reason):
        fields(id="id", format=avro(schema=schema))(record(value))


def made(form: Any, **arguments: Any) -> Callable[[], Any]:
    return lambda: form(**arguments)


def defaulting(kind: Any, default: Any) -> Any:
    return lambda: avro(
        registry=Registry("http://x"), schema=versioned({"name": "w", "type": kind, "default": default})
    )


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (made(avro, schema=b"{}"), "schema must be a dict, or its JSON text, got bytes"),
        (made(avro, schema={"type": {1}}), "not JSON serializable"),
        (made(avro, schema="click.avsc"), r"UnknownType: click.avsc; schema is the text .*read_text"),
        (made(avro, schema=[None]), "is no name, no object and no list"),
        (made(avro, schema={"name": "x"}), "a type in it has no 'type'"),
        (made(avro, schema=versioned({"name": "a", "type": {"type": "array"}})), "a type in it has no 'items'"),
        (defaulting({"type": "enum", "name": "X", "symbols": ["A"]}, "Z"), "'Z' is none of the symbols of X"),
        (defaulting({"type": "fixed", "name": "F", "size": 4}, "a"), "'a' is no fixed of 4 bytes"),
        (defaulting("bytes", "\u0100"), "is no bytes bytes, each written as"),
        (
            defaulting({"type": "record", "name": "W", "fields": [{"name": "q", "type": "int"}]}, {}),
            "the default {} has no 'q'",
        ),
        (made(avro, registry="http://x"), r"avro: registry must be a Registry\(URL\), got str"),
        (made(protobuf, registry="http://x"), r"protobuf: registry must be a Registry\(URL\), got str"),
        (made(protobuf, message="E"), "message must be a class that protoc generated, got 'E'"),
        (made(protobuf, message=int), "got <class 'int'>"),
        (made(protobuf, message=proto_key()()), "must be a class"),
    ],
)  # fmt: skip
def test_what_is_no_schema_no_class_and_no_registry_is_refused_at_once(make: Callable[[], Any], reason: str) -> None:
    with pytest.raises(ConfigError, match=reason):
        make()


def any_of(message: Any) -> any_pb2.Any:
    packed = any_pb2.Any()
    packed.Pack(message)
    return packed


@case("streams/05", "protobuf#6933", "protobuf#2954")
@pytest.mark.parametrize(
    ("message", "reason"),
    [
        (timestamp_pb2.Timestamp(seconds=5, nanos=-1), "a Timestamp has 5 s and -1 ns"),
        (timestamp_pb2.Timestamp(seconds=5, nanos=2_000_000_000), "or no part of a second"),
        (timestamp_pb2.Timestamp(seconds=1 << 62), "not in the years 1 to 9999"),
        (any_of(timestamp_pb2.Timestamp(seconds=1, nanos=-1)), "a Timestamp has 1 s"),
        (any_pb2.Any(type_url="x/google.protobuf.Any", value=b"\xff"), "Error parsing message"),
    ],
)
def test_a_well_known_type_that_holds_what_it_must_not(message: Any, reason: str) -> None:
    with pytest.raises(MalformedEvent, match=reason):
        fields(format=protobuf(message=type(message)))(record(message.SerializeToString()))


def test_a_field_that_is_required_and_not_there_is_named() -> None:
    file = descriptor_pb2.FileDescriptorProto(name="two.proto", package="two")
    kind = descriptor_pb2.FieldDescriptorProto
    file.message_type.add(name="E").field.add(name="id", number=1, type=kind.TYPE_STRING, label=kind.LABEL_REQUIRED)
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    form = protobuf(message=message_factory.GetMessageClass(pool.FindMessageTypeByName("two.E")))
    with pytest.raises(MalformedEvent, match="required id not there"):
        fields(format=form)(record(b""))


def test_a_wrapper_is_no_record() -> None:
    with pytest.raises(MalformedEvent, match="an event must be a record, not int"):
        fields(format=protobuf(message=wrappers_pb2.Int64Value))(record(b"\x08\x07"))


@case("streams/08", "the first hour")
@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (b"", "not JSON, but empty: a record without a value is a tombstone"),
        (b" \n", "not JSON, but empty"),
        (b'\xef\xbb\xbf{"a":1}', "not JSON, but UTF-8 behind a byte order mark"),
        *(('{"a":1}'.encode(code), "not JSON, but UTF-16 or UTF-32: write UTF-8") for code in ("utf-16", "utf-32")),
        *(('{"a":1}'.encode(code), "not JSON, but UTF-16 or UTF-32") for code in ("utf-16-le", "utf-16-be")),
        (b"\x1f\x8b\x08\0", "not JSON, but gzip"),
        (b"<a/>", "not JSON, but XML"),
        (b'{"a":1}\n{"a":2}', "more follows a first value: an event is one record"),
        (b'{"a":"\\ud83d"}', r"\\ud83d is half of a character"),
        (b'{"a":"\\ud83d\\ude00"', "Input data was truncated"),
    ],
)
def test_what_looks_like_json_elsewhere_is_named(value: bytes, reason: str) -> None:
    with pytest.raises(MalformedEvent, match=reason):
        fields()(record(value))


@case("streams/07", "kafka-connect-scylladb#29")
def test_no_time_stops_a_feed_however_long_its_number(joining: Callable[..., Join]) -> None:
    """A time of 400 digits ended the joiner, again at each start."""
    join = joining("digits", "[join]\nwindow_s=60\nidle_s=1\n")
    times = ["9" * 400, "-" + "9" * 400, "1e300", "1e22", "1" + "0" * 25, str(NOW * 10**6)]
    rows = [("predictions", b'{"id":"x%d","at":%b}' % (n, one.encode())) for n, one in enumerate(times)]
    good = {"id": "a", "at": NOW, "y": 1}
    join.publish(*rows, ("predictions", good), ("outcomes", good))
    assert join.settled(len(times) + 2)["joined"] == 1
    letters = join.letters()
    assert len(letters) == len(times)
    assert not any("Error" in one or len(one) > 300 for one in letters)
    assert sum("the time is out of range: a number of about 399 digits" in one for one in letters) == 2, letters
    assert join.process.poll() is None, join.said()
