"""What a reader of a user's own returns or raises: the letter says in words what is wrong, and what would be right."""

import json
import math
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest

import shadowstream
from shadowstream import Record, fields
from streams.errors import MalformedEvent
from streams.join.batch import Readers, decode
from streams.join.policy import JoinPolicy
from streams.join.step import Rules
from streams.kafka import Polled, Tp
from streams.returned import as_outcome, as_request, labelled
from tests.cases import case
from tests.cases.join import NOW, Join, until
from tests.clicks import record

Event: Any = shadowstream.Event  # of any types
Outcome: Any = shadowstream.Outcome
Request: Any = shadowstream.Request
HUGE = 10**5_000  # Python shows no number of more than 4,300 digits
RULES = Rules.of(JoinPolicy())


def as_id(value: object) -> str:
    """Return a test's name for a reason; of a value there is none."""
    return value if isinstance(value, str) else ""


def letter(reader: Callable[[Record], Any]) -> str:
    """Return the reason with which a record is refused that this reader reads."""
    readers = Readers(predictions="p", outcomes="o", dead_letters="d", prediction=reader, outcome=reader)
    batch = decode(Polled(Tp("p", 0), 0, 1, [record(b"{}")], []), readers, 1, RULES, NOW)
    assert batch.ids == []
    return batch.letters[0].reason


def returning(value: Any) -> Callable[[Record], Any]:
    def read_click(_: Record) -> Any:
        return value

    return read_click


@case("streams/08", "the first hour")
@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (None, "read_click returned None; it must return Event(id, t_ms, body)"),
        (7, "read_click returned an int 7; it must"),
        (HUGE, "read_click returned an int; it must"),
        ("abc", "read_click returned a str 'abc'; it must"),
        ({"id": 1, "t": 2, "body": 3}, "read_click returned a dict; it must"),
        (Outcome("a", t=1, label=1.0), "read_click returned an Outcome; it must return Event("),
        (("a", 1), "read_click returned a tuple; it must"),
        (Event(7, NOW, b"1"), "read_click returned as the id an int 7; it must be text"),
        (Event(HUGE, NOW, b"1"), "as the id an int; it must be text"),
        (Event(None, NOW, b"1"), "as the id None; it must be text"),
        (Event(b"a", NOW, b"1"), "as the id a bytes b'a'; it must be text"),
        (Event("\ud83d", NOW, b"1"), "which is not UTF-8"),
        (Event("", NOW, b"1"), "an id has 1 to 512 bytes, this one 0"),
        (
            Event("a", NOW, None),
            "read_click returned as the body None; it must be the bytes of one JSON value",
        ),
        (Event("a", NOW, "1"), "as the body a str '1'; it must be the bytes of one JSON value, as TEXT.encode()"),
        (Event("a", NOW, {"x": 1}), "as the body a dict; it must be the bytes of one JSON value, as json.dumps(VALUE)"),
        (Event("a", NOW, b'"\xff"'), "UTF-8"),
        (Event("a", NOW, b'{"x": NaN}'), "not JSON: NaN is no JSON value; write null, or leave it out"),
        (Event("a", NOW, b""), "not JSON, but empty"),
        (Event("a", NOW, b"{} {}"), "more follows a first value"),
        (Event("a", None, b"1"), "the time must be a whole number of ms, not None"),
        (Event("a", NOW + 0.5, b"1"), "the time must be a whole number of ms, not 17"),
        (Event("a", True, b"1"), "the time must be a whole number of ms, not True"),
        (Event("a", HUGE, b"1"), "the time is out of range"),
        (Event("a", -5, b"1"), "time -5 ms is out of range"),
    ],
    ids=as_id,
)
def test_what_is_no_event_is_named(value: Any, reason: str) -> None:
    assert reason in letter(returning(value))


def raises(record: Record) -> Any:
    return Event(json.loads(record.value or b"")["id"], 0, b"1")


def ends(_: Record) -> Any:
    raise SystemExit(3)


async def waits(_: Record) -> None: ...


@pytest.mark.filterwarnings("ignore:coroutine")
@pytest.mark.parametrize(
    ("reader", "reason"),
    [
        (raises, "raises raised KeyError: 'id' (test_returned.py:"),
        (partial(raises), "raises raised KeyError: 'id'"),
        (lambda record: record.values, "the reader raised AttributeError: 'Record' object has no attribute 'values'"),
        (ends, "ends raised SystemExit: 3 (test_returned.py:"),
        (waits, "waits returned a coroutine; it must return Event("),
    ],
)
def test_what_raises_is_named_with_its_line(reader: Any, reason: str) -> None:
    assert reason in letter(reader)


def test_an_event_of_other_kinds_of_bytes_and_numbers_is_one() -> None:
    numpy = pytest.importorskip("numpy")
    event = Event(numpy.str_("a"), numpy.int64(NOW), bytearray(b"1"))
    readers = Readers(
        predictions="p", outcomes="o", dead_letters="d", prediction=returning(event), outcome=returning(event)
    )
    batch = decode(Polled(Tp("o", 0), 0, 1, [record(b"{}")], []), readers, 1, RULES, NOW)
    assert (batch.ids, batch.times, batch.letters) == (["a"], [NOW], [])


def read_outcome(_: Record) -> None:
    """Stand for a pipeline's reader."""


@case("streams/08", "the first hour")
@pytest.mark.parametrize(
    ("read", "reason"),
    [
        (None, r"read_outcome returned None; it must return Outcome\(id, t=…, label=…\), or what fields\(\) makes"),
        (Outcome(7, t=1, label=1.0), "as the id an int 7; it must be text"),
        (Outcome("a", t=1, label=None), "as the label None; it must be a number that a float can be, text, a list or"),
        (Outcome("a", t=1, label=b"1"), "as the label a bytes b'1'; it must be a number"),
        (Outcome("a", t=1, label=HUGE), "as the label an int; it must be a number that a float can be"),
        (Event("a", 1, b"null"), "as the label None; it must be a number"),
        (Event("a", 1, b"x"), "not JSON"),
        (Event("a", 1, 1.0), "as the label a float 1.0; it must be the bytes of one JSON value"),
        (Request("a", 1, None), "as the label None"),
    ],
    ids=as_id,
)
def test_what_is_no_outcome_is_named(read: Any, reason: str) -> None:
    with pytest.raises(MalformedEvent, match=reason):
        as_outcome(read, read_outcome)


@pytest.mark.parametrize("label", [True, 1, 1.0])
def test_a_label_is_a_number_in_the_sample_whatever_it_was_before(label: Any) -> None:
    assert as_outcome(Outcome("a", t=1, label=label), read_outcome).label == 1.0


def test_a_target_that_is_not_finite_is_refused() -> None:
    outcome = Outcome("a", t=1, label={"x": 1})
    assert labelled(outcome, (1.0, 2.5)).body == b"[1.0,2.5]"
    for target in (math.nan, (1.0, math.inf)):
        with pytest.raises(MalformedEvent, match="the label is not finite: a dict"):
            labelled(outcome, target)


def test_so_is_one_of_another_library() -> None:
    numpy = pytest.importorskip("numpy")
    for label in (numpy.float32(1), numpy.int8(1), numpy.bool_(True), numpy.array(1.0)):
        made = as_outcome(Outcome("a", t=1, label=label), read_outcome).label
        assert (made, type(made)) == (1.0, float)
    assert as_outcome(Outcome("a", t=1, label=numpy.array([1, 2])), read_outcome).label == [1, 2]


@pytest.mark.parametrize(
    ("read", "reason"),
    [
        (None, r"read_outcome returned None; it must return Request\(id, t_ms, features\)"),
        (Request(7, 1, b"{}"), "as the id an int 7"),
        (Request("a", 1, {"x": 1}), "as the features a dict; it must be the bytes of one JSON value"),
    ],
    ids=as_id,
)
def test_what_is_no_request_is_named(read: Any, reason: str) -> None:
    with pytest.raises(MalformedEvent, match=reason):
        as_request(read_outcome, read)


def test_what_fields_makes_is_a_request_and_an_outcome() -> None:
    read = fields(id="id", label="y", t="t")(record(b'{"id": 7, "y": true, "t": 5}'))
    assert as_outcome(read, read_outcome) == Outcome("7", t=5, label=1.0)
    assert as_request(read_outcome, read) == Request("7", 5, b"1")


OWN = """
import json
from shadowstream import Event, Feed
WRONG = [None, 7, Event(7, 1, b"1"), Event("a", 1, None), Event("a", "now", b"1")]
def read_any(record):
    row = json.loads(record.value)
    if "wrong" in row:
        return WRONG[row["wrong"]]
    return Event(row["id"], row["at"], json.dumps(row["y"]).encode())
feed = Feed(name="{name}", prediction=read_any, outcome=read_any)
"""


def test_none_of_them_stops_a_feed(joining: Callable[..., Join]) -> None:
    join = joining("returned", "[join]\nwindow_s=60\nidle_s=1\n", OWN)
    wrong = [(kind, {"wrong": n}) for kind in ("predictions", "outcomes") for n in range(5)]
    good = {"id": "a", "at": NOW, "y": 1}
    join.publish(*wrong, ("predictions", {"at": NOW}), ("predictions", good), ("outcomes", good))
    assert join.settled(len(wrong) + 3)["joined"] == 1
    letters = join.letters()
    assert len(letters) == len(wrong) + 1
    assert all(one.startswith(("read_any ", "the time must")) for one in letters), letters
    assert "read_any raised KeyError: 'id' (feed.py:9)" in letters
    until(lambda: join.process.poll() is None, join.said)
