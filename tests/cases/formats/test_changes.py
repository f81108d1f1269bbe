"""Change events of a database, as Debezium writes them; labels that are none."""

import dataclasses
import json
from collections.abc import Callable
from typing import Any

import pytest

from shadowstream import Outcome, fields, json_outcome
from streams.errors import MalformedEvent, Skipped
from tests import small
from tests.cases import case
from tests.cases.join import NOW, Join
from tests.clicks import record

DEBEZIUM = case("streams/08", "ksql#1100", "hudi#8519", "confluent-kafka-python#189")
CHANGES = """
from shadowstream import Feed, fields
feed = Feed(
    name="{name}",
    prediction=fields(id="after.id", t="ts_ms", tombstones="skip"),
    outcome=fields(id="after.order_id", t="ts_ms", label="after.paid"),
)
"""


def change(op: str, before: Any, after: Any, t_ms: int) -> dict[str, Any]:
    return {"before": before, "after": after, "op": op, "ts_ms": t_ms}


@DEBEZIUM
def test_change_events_join_and_what_is_none_is_said(joining: Callable[..., Join]) -> None:
    join = joining("cdc", feed=CHANGES)
    join.publish(
        ("predictions", change("r", None, {"id": 1}, NOW)),
        ("predictions", change("c", None, {"id": 2, "amount": 7}, NOW)),
        ("predictions", change("u", {"id": 2}, {"id": 2, "amount": 9}, NOW + 20)),
        ("predictions", change("d", {"id": 1}, None, NOW + 30)),
        ("predictions", None),
        ("predictions", change("t", None, None, NOW + 31)),
        ("outcomes", None),
        ("outcomes", change("c", None, {"order_id": 2, "paid": "ATE="}, NOW + 99)),
        ("outcomes", change("c", None, {"order_id": 1, "paid": 1}, NOW + 99)),
    )
    counted = join.settled(8)
    assert (counted["predictions"], counted["conflict"], counted["joined"]) == (3, 1, 1)
    assert [(one["id"], one["label"]) for one in join.samples()] == [("1", 1)]
    assert sum(at.holes for at in join.shard().partitions.values()) == 1
    letters = join.letters()
    nothing = "field 'after.id' must be the id, text or a whole number; found nothing (a change event that"
    assert letters.count(f"{nothing} deletes a row, op 'd')") == 1
    assert letters.count(f"{nothing} truncates its table, op 't')") == 1
    assert letters.count("the record has no value") == 1
    assert any("ATE=" in one and "number" in one for one in letters)
    assert len(letters) == 4


@DEBEZIUM
def test_change_events_with_their_schema() -> None:
    read = fields(id="payload.after.id")
    value = {"schema": {}, "payload": change("c", None, {"id": 7}, NOW)}
    assert read(record(json.dumps(value).encode())).id == "7"
    value["payload"] = change("d", {"id": 7}, None, NOW)
    with pytest.raises(MalformedEvent, match=r"deletes a row, op 'd'"):
        read(record(json.dumps(value).encode()))


@DEBEZIUM
def test_a_tombstone_is_refused_or_skipped() -> None:
    with pytest.raises(MalformedEvent, match="the record has no value"):
        fields()(record(None))
    with pytest.raises(Skipped, match="a tombstone"):
        fields(tombstones="skip")(record(None))
    with pytest.raises(MalformedEvent, match="not JSON"):
        fields(tombstones="skip")(record(b""))


FIRST_HOUR = case("streams/08", "the first hour")


@FIRST_HOUR
@pytest.mark.parametrize(
    ("written", "label"), [("1", 1.0), ("true", 1.0), ("false", 0.0), ("-2.5", -2.5), ("1e3", 1_000.0)]
)
def test_a_pipelines_labels(written: str, label: float) -> None:
    value = b'{"id":"a","label":%b}' % written.encode()
    assert json_outcome(record(value)) == Outcome("a", record(value).t_ms, label)


@FIRST_HOUR
@pytest.mark.parametrize(
    ("written", "reason"),
    [
        ("null", "field 'label' is null; leave the outcome out while nothing is known"),
        ("NaN", "not JSON: NaN is no JSON value; write null, or leave it out"),
        ("-Infinity", "not JSON: -Infinity is no JSON value"),
        ("1e999", "out of range"),
    ],
)
def test_what_is_no_label_is_named(written: str, reason: str) -> None:
    with pytest.raises(MalformedEvent, match=reason):
        json_outcome(record(b'{"id":"a","label":%b}' % written.encode()))


@FIRST_HOUR
def test_a_pipelines_events_by_the_names_of_fields() -> None:
    feed = dataclasses.replace(small.pipeline, outcome=fields(id="order", t="at", label="paid")).as_feed()
    assert feed.outcome(record(b'{"order":7,"at":5,"paid":true}')) == ("7", 5, b"1.0")
    for written, reason in (
        ('"yes"', "a binary label is 0 or 1, got 'yes'"),
        ('"1"', "a binary label is 0 or 1, got '1'"),
        ("[1]", r"a binary label is 0 or 1, got \[1"),
        ("2", "a binary label is 0 or 1, got 2.0"),
    ):
        with pytest.raises(MalformedEvent, match=reason):
            feed.outcome(record(b'{"order":7,"at":5,"paid":%b}' % written.encode()))
