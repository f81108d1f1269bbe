"""Every decoder on any bytes: it returns an event whose body is one JSON value, or raises why not, and nothing else.

`bodies` and `FORMATS` are also what tests/fuzz/decoders.py runs on.
"""

import json as stdlib
import math
from typing import Any, get_args

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from streams.errors import MalformedEvent
from streams.events import Event, Record
from streams.formats.avro import avro
from streams.formats.content import Format, json, json_schema, msgpack
from streams.formats.fields import KEY, fields, header, key
from streams.formats.parts import Serializer
from streams.formats.protobuf import protobuf
from streams.readers import Reader
from tests.cases.formats.written import avro_bytes
from tests.clicks import CLICK, CLICKED, click_class, clicked, written
from tests.hostile import BIG_BYTES, HUGE, KINDS, SEED_MS, hostile

LOGICAL = {
    "type": "record",
    "name": "Logical",
    "fields": [
        {"name": "id", "type": {"type": "bytes", "logicalType": "big-decimal"}},
        {"name": "at", "type": ["null", {"type": "long", "logicalType": "timestamp-nanos"}]},
        {"name": "y", "type": {"type": "bytes", "logicalType": "decimal", "precision": 1_000, "scale": 3}},
        {"name": "x", "type": {"type": "map", "values": [{"type": "int", "logicalType": "date"}, "double", "bytes"]}},
        {"name": "clock", "type": {"type": "long", "logicalType": "time-micros"}},
        {"name": "who", "type": {"type": "string", "logicalType": "uuid"}},
    ],
}
FORMATS: dict[str, Format] = {
    "json": json,
    "json_schema": json_schema,
    "logical": avro(schema=LOGICAL),
    "msgpack": msgpack,
    "avro": avro(schema=CLICK),
    "protobuf": protobuf(message=click_class()),
}
SEEDS = {
    "json_schema": b'\0\0\0\0\7{"id":"a","at":1360000000000,"y":[1.5,true,null],"x":{"z":1}}',
    "logical": avro_bytes(
        LOGICAL,
        {
            "id": b"\2\7\0",
            "at": 5,
            "y": b"\7",
            "x": {"z": 1.5},
            "clock": 1,
            "who": "00000000-0000-0000-0000-000000000005",
        },
    ),
    "json": b'{"id":"a","at":1360000000000,"y":[1.5,true,null,"\\u0000"],"x":{"z":1}}',
    "msgpack": msgspec.msgpack.encode({"id": "a", "at": 1_360_000_000_000, "y": [1.5, b"\xff"], "x": {"z": None}}),
    "avro": written(CLICK, CLICKED),
    "protobuf": clicked(),
}
READERS: dict[str, list[Reader[Event]]] = {
    name: [
        fields(format=form),
        fields(id="id", t="at", format=form),
        fields(id="id", t="y", t_unit="s", label="y", format=form),
        fields(id="x.z", t="x.z", t_unit="iso", label="x.z", format=form),
        fields(id=KEY, t="at", label="id", format=form),
        fields(id=key(form, "id"), t=header("h", form), label="who", format=form),
        *(fields(id=key(one), t=header("h", one), t_unit="s", format=form) for one in get_args(Serializer)),
    ]
    for name, form in FORMATS.items()
}
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)
objects = st.fixed_dictionaries(
    {}, optional={name: values | st.integers(0, SEED_MS) for name in ("id", "at", "x", "y", "other")}
)


def check(name: str, value: bytes, key_bytes: bytes | None = b"k") -> int:
    """Read a value by every reader of a format; each event must be sound. Return how many there were."""
    record = Record("clicks", 0, 0, SEED_MS, SEED_MS, key_bytes, value, (("h", key_bytes or b""),))
    return sum(_sound(read, record) for read in READERS[name])


def _sound(read: Reader[Event], record: Record) -> bool:
    try:
        id, t_ms, body = read(record)
    except MalformedEvent:
        return False
    assert type(id) is str
    assert id
    assert id.encode().decode() == id
    assert type(t_ms) is int
    document = stdlib.loads(b'{"x":' + body + b"}", parse_constant=pytest.fail, parse_float=_finite)
    assert list(document) == ["x"]
    assert stdlib.loads(stdlib.dumps(document, allow_nan=False)) == document
    msgspec.json.decode(b'{"x":{"x":[' + body + b"]}}")
    return True


def _finite(text: str) -> float:
    number = float(text)
    assert math.isfinite(number)
    return number


@pytest.mark.parametrize("name", FORMATS)
def test_each_format_reads_its_seed(name: str) -> None:
    assert check(name, SEEDS[name]) >= 2


@pytest.mark.parametrize("name", FORMATS)
@given(value=st.binary(max_size=300), key=st.none() | st.binary(max_size=8))
def test_any_bytes(name: str, value: bytes, key: bytes | None) -> None:
    check(name, value, key)


@pytest.mark.parametrize("name", FORMATS)
@given(data=st.data())
def test_a_good_event_with_some_bytes_changed(name: str, data: st.DataObject) -> None:
    value = bytearray(SEEDS[name])
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(value)))
        value[at : at + data.draw(st.integers(0, 3))] = data.draw(st.binary(max_size=3))
    check(name, bytes(value))


@given(objects)
@example({"at": 1e300, "id": "\0{}"})
def test_any_object_as_json(value: dict[str, Any]) -> None:
    check("json", stdlib.dumps(value).encode())
    check("json", stdlib.dumps(value, ensure_ascii=False).encode(errors="surrogatepass"))


@given(objects)
def test_any_object_as_messagepack(value: dict[str, Any]) -> None:
    try:
        packed = msgspec.msgpack.encode(value)
    except (OverflowError, UnicodeEncodeError):
        return
    check("msgpack", packed)


@pytest.mark.parametrize("kind", KINDS)
@given(st.randoms(use_true_random=False))
def test_hostile_events_by_the_json_reader(kind: str, rng: Any) -> None:
    evil = hostile(rng, 1, big_bytes=BIG_BYTES // 100, kinds=[kind])
    if evil.value is not None and kind not in ("far time", HUGE):  # the join refuses those, by its clock and bounds
        event = check("json", evil.value, key_bytes=None)
        assert bool(event) is not evil.refused
