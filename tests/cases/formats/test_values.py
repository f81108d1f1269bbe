"""One reading of a value: the same wherever it is named, for each type of each format, and as it is in the body."""

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Context, Decimal
from functools import partial
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.errors import ConfigError, MalformedEvent
from streams.events import Event
from streams.formats.avro import avro
from streams.formats.content import Format
from streams.formats.fields import fields
from streams.readers import Reader
from tests.cases import case
from tests.cases.formats.written import AT, PLACES, ROWS, Row, as_id, avro_bytes, table, written
from tests.clicks import record

NAMES = [f"{row} {row.plain!r:.20}{' optional' if optional else ''}" for row, optional in table()]


def read_json(text: bytes) -> Any:
    return json.loads(text, parse_float=Decimal)


def at_place(name: str, place: str, form: Format) -> Reader[Event]:
    named: dict[str, Any] = {name: place}
    return fields(**named, format=form)


def or_refused(read: Callable[[], Event], reason: str, part: int) -> Any:
    """Return a part of the event that is read, or None where it is refused for the right reason."""
    try:
        return read()[part]
    except MalformedEvent as wrong:
        return None if reason in str(wrong) else str(wrong)


@case("streams/03", "feldera#4837", "feldera#4722")
@case("streams/05", "protobuf#6933", "protobuf#2954")
@case("streams/06", "mercari/pipeline#122", "risingwave#8730")
@pytest.mark.parametrize(("row", "optional"), table(), ids=NAMES)
def test_a_value_is_the_same_wherever_it_is_named(row: Row, optional: bool) -> None:
    form, value = written(row, optional=optional)
    source = record(value)
    body = read_json(fields(format=form)(source).body)
    assert body == {"v": row.plain, "o": {"v": row.plain}, "m": {"v": row.plain}, "l": [row.plain]}
    for place in PLACES:
        id_of, t_of, label_of = (at_place(name, place, form) for name in ("id", "t", "label"))
        assert or_refused(partial(id_of, source), "must be the id", 0) == as_id(row.plain)
        assert or_refused(partial(t_of, source), "must be the time", 1) == row.t_ms
        label = or_refused(partial(label_of, source), "must be the label", 2)
        assert (label and read_json(label)) == (None if isinstance(row.plain, dict) else row.plain)
        assert label not in (b"true", b"false")
    assert read_json(fields(label="l", format=form)(source).body) == [row.plain]


TIMES = [row for row in ROWS if "imestamp" in str(row) and row.plain != "not fitting"]


@case("streams/06", "mercari/pipeline#122", "risingwave#8730")
@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns", "iso"])
@pytest.mark.parametrize("row", TIMES, ids=str)
def test_a_time_that_knows_its_unit_refuses_another(row: Row, unit: Any) -> None:
    form, value = written(row, optional=False)
    with pytest.raises((MalformedEvent, ConfigError), match="knows its unit: leave t_unit"):
        fields(t="v", t_unit=unit, format=form)(record(value))
    assert fields(t="v", format=form)(record(value)).t_ms == row.t_ms


def read_avro(kind: Any, stored: Any) -> Any:
    schema = {"type": "record", "name": "E", "fields": [{"name": "v", "type": kind}]}
    source, form = record(avro_bytes(schema, {"v": stored})), avro(schema=schema)
    body = fields(format=form)(source).body
    assert read_json(b'{"v":%b}' % fields(label="v", format=form)(source).body) == read_json(body)
    return read_json(body)["v"]


@given(st.integers(-(1 << 160), 1 << 160), st.integers(0, 60))
def test_any_decimal_is_exact(unscaled: int, scale: int) -> None:
    kind = {"type": "bytes", "logicalType": "decimal", "precision": 60, "scale": scale}
    value = read_avro(kind, unscaled.to_bytes(unscaled.bit_length() // 8 + 1, "big", signed=True))
    assert value == Decimal(unscaled).scaleb(-scale, Context(prec=100))


@given(st.integers(-(1 << 63), (1 << 63) - 1))
def test_any_moment_is_rounded_down_to_ms(moment: int) -> None:
    for unit, parts in (("millis", 1), ("micros", 1_000), ("nanos", 1_000_000)):
        assert read_avro({"type": "long", "logicalType": f"timestamp-{unit}"}, moment) == moment // parts


@given(st.dates())
def test_any_date_of_a_calendar(day: Any) -> None:
    kind = {"type": "int", "logicalType": "date"}
    assert read_avro(kind, (day - datetime(1970, 1, 1, tzinfo=UTC).date()).days) == day.isoformat()


@given(st.datetimes(timezones=st.timezones()), st.sampled_from(["s", "ms", "us", "ns"]))
def test_any_time_in_any_unit_is_the_same(time: datetime, unit: Any) -> None:
    time = time.astimezone(UTC) if time.year not in (1, 9999) else datetime(2026, 1, 1, tzinfo=UTC)
    us = (time - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)
    number = {"s": us / 1e6, "ms": us // 1_000, "us": us, "ns": us * 1_000}[unit]
    t_ms = fields(t="t", t_unit=unit)(record(json.dumps({"t": number}).encode())).t_ms
    assert abs(t_ms - us // 1_000) <= (unit == "s")
    iso = json.dumps({"t": time.isoformat()}).encode()
    assert fields(t="t", t_unit="iso")(record(iso)).t_ms == us // 1_000


@pytest.mark.parametrize(
    ("kind", "stored", "reason"),
    [
        ({"type": "int", "logicalType": "date"}, 1 << 30, "not in the years 1 to 9999"),
        ({"type": "int", "logicalType": "time-millis"}, 86_400_000, "not within a day"),
        ({"type": "long", "logicalType": "time-micros"}, -1, "not within a day"),
        ({"type": "string", "logicalType": "uuid"}, "o9", "not a UUID: 'o9'"),
        ({"type": "bytes", "logicalType": "decimal", "precision": 4}, b"1" * 2_000, "a decimal has 2,000 bytes"),
        ({"type": "bytes", "logicalType": "decimal", "precision": 999}, b"1" * 200, "a decimal has 481 digits"),
        ({"type": "bytes", "logicalType": "big-decimal"}, b"\x04\x04", "cut short"),
        ({"type": "bytes", "logicalType": "big-decimal"}, b"\x02\x07\xff\xff\xff\xff\x0f", "2,147,483,649 digits"),
    ],
)
def test_what_a_logical_type_cannot_hold_is_refused_by_name(kind: Any, stored: Any, reason: str) -> None:
    with pytest.raises(MalformedEvent, match=reason):
        read_avro(kind, stored)


@pytest.mark.parametrize("number", [float("nan"), float("inf")])
def test_what_is_not_finite_is_null_in_a_body_and_refused_elsewhere(number: float) -> None:
    schema = {"type": "record", "name": "E", "fields": [{"name": "v", "type": "double"}]}
    source, form = record(avro_bytes(schema, {"v": number})), avro(schema=schema)
    assert fields(format=form)(source).body == b'{"v":null}'
    for place in ("id", "t", "label"):
        with pytest.raises(MalformedEvent, match=f"found {number}"):
            at_place(place, "v", form)(source)


@pytest.mark.parametrize(
    ("written", "id"),
    [
        ("7", "7"),
        ("7.0", "7"),
        ("-7", "-7"),
        ("9007199254740993", "9007199254740993"),
        ("9007199254740991.0", "9007199254740991"),
        ("9007199254740993.0", None),
        ("1e300", None),
        ("7.5", None),
        ("true", None),
        ('"7.0"', "7.0"),
        ('""', None),
        ("[7]", None),
    ],
)
def test_numbers_as_ids(written: str, id: str | None) -> None:
    assert or_refused(partial(fields(id="v"), record(b'{"v":%b}' % written.encode())), "must be the id", 0) == id


@pytest.mark.parametrize(
    ("written", "unit", "t_ms"),
    [
        ('"1790000000123"', "ms", AT),
        ('"1790000000"', "s", AT - 123),
        ('"1790000000.123"', "s", AT),
        ("1790000000.123", "s", AT),
        ('"1790000000123456"', "us", AT),
        ('"2026-09-21T14:13:20.123Z"', "iso", AT),
        ('"2026-09-21T14:13:20.123999999Z"', "iso", AT),
        ('"2026-09-21T16:13:20.123+0200"', "iso", AT),
        ('"2026-09-21T16:13:20.123+02:00[Europe/Berlin]"', "iso", AT),
        ('"2026-09-21 14:13:20,123Z"', "iso", AT),
        ('"2026-09-21T14:13Z"', "iso", AT - 20_123),
        ('"2026-09-21t14:13:20.123z"', "iso", AT),
        ('"2026-W39-1T14:13:20.123Z"', "iso", AT),
        ('"20260921T141320.123Z"', "iso", AT),
        ('"2026-09-20T24:00:00Z"', "iso", 1_789_948_800_000),
        ('"2026-09-20 24:00+00:00"', "iso", 1_789_948_800_000),
        ('"20260920T240000,000Z"', "iso", 1_789_948_800_000),
        ('"2016-12-31T23:59:60Z"', "iso", 1_483_228_800_000),
        ('"2017-01-01T00:59:60.5+01:00"', "iso", 1_483_228_800_500),
    ],
)
def test_times_as_the_worlds_libraries_write_them(written: str, unit: Any, t_ms: int) -> None:
    assert fields(t="t", t_unit=unit)(record(b'{"t":%b}' % written.encode())).t_ms == t_ms


@pytest.mark.parametrize(
    ("written", "unit", "reason"),
    [
        ('"2013"', "ms", "found '2013'"),
        ('"1790000000"', "ms", "found '1790000000'"),
        ('"2026-09-21T14:13:20Z"', "ms", "say t_unit = 'iso'"),
        ('"2026-09-21T14:13:20"', "iso", "RFC 3339 with an offset"),
        ('"2026-09-21"', "iso", "RFC 3339 with an offset; found '2026-09-21': it has no time of day"),
        ('"2026-09-21 14:13"', "iso", "found '2026-09-21 14:13': it has no offset, such as Z"),
        ('"2026-09-21T24:00:00"', "iso", "it has no offset"),
        ('"2026-09-21T24:00:01Z"', "iso", "hour must be in 0..23"),
        ('"2026-09-21T14:13:60Z"', "iso", "second must be in 0..59"),
        ('"2026-02-30T14:13:00Z"', "iso", "day is out of range for month"),
        ('"9999-12-31T24:00:00Z"', "iso", "a time after the year 9999"),
        ('"today"', "iso", "found 'today'"),
        ("true", "ms", "found True"),
    ],
)
def test_times_that_may_be_another_are_refused_by_name(written: str, unit: Any, reason: str) -> None:
    with pytest.raises(MalformedEvent, match=reason):
        fields(t="t", t_unit=unit)(record(b'{"t":%b}' % written.encode()))


@case("streams/06", "mercari/pipeline#122", "risingwave#8730")
@pytest.mark.parametrize("optional", [False, True])
def test_a_unit_beside_a_type_that_knows_it_is_refused_before_any_event(optional: bool) -> None:
    for row in TIMES:
        if row.format in ("avro", "protobuf"):
            form, _ = written(row, optional=optional)
            for place in PLACES:
                with pytest.raises(ConfigError, match=rf"field '{place}' is of a type that knows its unit"):
                    fields(t=place, t_unit="us", format=form)
            for place in ("l", "o", "m", "x.v", "v.x", "o.x"):
                fields(t=place, t_unit="us", format=form)
