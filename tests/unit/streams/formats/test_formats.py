"""Readers of formats with a schema, Avro and Protobuf; a missing extra."""

import json as stdlib
import subprocess
import sys
from typing import Any

import pytest

from streams.errors import ConfigError, MalformedEvent
from streams.formats.avro import avro
from streams.formats.fields import fields
from streams.formats.protobuf import protobuf
from tests.clicks import CLICK, CLICKED, PLAIN, T, click_class, clicked, record, written


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

    @pytest.mark.parametrize(
        ("make", "reason"), [(avro, "a schema, a registry, or both"), (protobuf, "exactly one of")]
    )
    def test_a_schema_or_a_registry(self, make: Any, reason: str) -> None:
        with pytest.raises(ConfigError, match=reason):
            make()


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


@pytest.mark.parametrize(("form", "library"), [("avro", "fastavro"), ("protobuf", "google.protobuf")])
def test_a_missing_extra_is_named(form: str, library: str) -> None:
    without = f"import sys; sys.modules[{library!r}] = None; import streams.formats.{form}"
    ended = subprocess.run([sys.executable, "-c", without], capture_output=True, text=True)
    assert "ConfigError" in ended.stderr
    assert "pip install 'shadowstream[registry]'" in ended.stderr
