"""Readers from field names, for JSON and MessagePack: what they make of an event, what they refuse, and the reasons."""

import json as stdlib
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest

from streams.errors import ConfigError, MalformedEvent
from streams.events import Event
from streams.formats.content import json, msgpack
from streams.formats.fields import KEY, TIMESTAMP, fields, header
from streams.formats.plain import MOST_NESTED
from tests.clicks import T, record


class TestFields:
    def test_a_prediction_keeps_its_bytes_and_an_outcome_its_label(self) -> None:
        value = b' {"ad_id": "a", "shown_at": 1360000000000, "x": [1.50, {"y": null}]}\n'
        assert fields(id="ad_id", t="shown_at")(record(value)) == Event("a", T, value)
        assert fields(id="ad_id", label="x")(record(b'{"ad_id":"a","x":2}')) == Event("a", T + 1, b"2")

    def test_ids_and_times_come_from_paths_keys_and_headers_too(self) -> None:
        source = record(b'{"user":{"id":12},"at":5}', b"k\xc3\xa9", ("id", b"first"), ("id", b"last"), ("at", b"1360"))
        assert fields(id="user.id", t="at")(source)[:2] == ("12", 5)
        assert fields(id=KEY, t=TIMESTAMP)(source)[:2] == ("ké", T + 1)
        assert fields(id=header("id"), t=header("at"), t_unit="s")(source)[:2] == ("last", 1_360_000)

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
                "field 't' must be the time, RFC 3339 with an offset; found '2013-02-04T17:46:40': it has no "
                "offset, such as Z or +01:00",
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
            ({"id": None}, "id must be a field's name"),
            ({"label": KEY}, "label must be a field's name"),
            ({"t_unit": "min"}, "one of s, ms, us, ns, iso"),
            ({"t_unit": "s"}, "t_unit = 's' needs a t"),
            ({"format": "json"}, "format must be json, json_schema, msgpack, or"),
            ({"format": stdlib}, "format must be json, json_schema, msgpack, or"),
            ({"tombstones": "drop"}, "tombstones must be 'refuse' or 'skip'"),
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
            (b'\xef\xbb\xbf{"a":1}', "a byte order mark"),
            (b'{"a":"\xff"}', "utf-8"),
            (b'{"\xff":1}', "utf-8"),
            (b'{"a":"\xed\xa0\x80"}', "utf-8"),
            (b'{"a":"\\ud800"}', "not JSON"),
            (b'{"a":NaN}', "not JSON: NaN is no JSON value"),
            (b'{"a":[-Infinity]}', "not JSON: -Infinity is no JSON value"),
            (b'{"a":NaN', "not JSON: JSON is malformed"),
            (b'{"a":1e999999}', "out of range"),
            (b'{"a":' + b"1" * 100_000 + b"}", "out of range"),
            (b'{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}", f"deeper than {MOST_NESTED}"),
            (b'{"a":' * 100_000 + b"1" + b"}" * 100_000, "recursion"),
            (b'{"a":"\\"","b":' + b"[" * 300 + b"]" * 300 + b"}", f"deeper than {MOST_NESTED}"),
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
            b'{"a":"\\"' + b"[" * 1_000 + b'"}',
            b'{"a":' + b"[" * (MOST_NESTED - 1) + b"1" + b"]" * (MOST_NESTED - 1) + b"}",
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


def test_json_is_the_default_format() -> None:
    assert fields()(record(b"{}")) == fields(format=json)(record(b"{}"))
