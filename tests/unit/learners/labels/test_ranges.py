"""Trust in ranges: what is forged is found without a name, and what a person says of a changed world is believed."""

import math
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import msgspec
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import Raw

from learners.labels.holds import Said
from learners.labels.make import running_trust
from learners.labels.running import RunningTrust
from learners.labels.settings import Trust
from learners.tasks.binary import Binary
from learners.tasks.classes import Classes
from learners.tasks.task import Task
from streams.events import WAITING, Prediction, Sample

DAY_MS, A_DAY = 86_400_000, 200
SPEC = Trust(hold_days=30)


class Visit(msgspec.Struct):
    country: str
    page: str
    age: float | None


def world(days: int, turned: Callable[[int, Visit], bool], classes: int = 2) -> tuple[list[Sample], list[Visit]]:
    """Samples of so many days; a page's chance is its own, and `turned` labels, by day, are the next class."""
    random, samples, rows = np.random.default_rng(0), [], []
    for at in range(days * A_DAY):
        day = at // A_DAY
        row = Visit("abcd"[random.integers(4)], "xy"[random.integers(2)], float(random.normal()) if at % 9 else None)
        label = int(random.random() < (0.85 if row.page == "x" else 0.15))
        label = (label + turned(day, row)) % classes
        t_ms = at * DAY_MS // A_DAY
        asked = Prediction(str(at), t_ms, 0, (0.0,), (0.0,), 0, Raw(b"{}"))
        samples.append(Sample(str(at), "joined", 0, t_ms, float(label), t_ms, asked))
        rows.append(row)
    return samples, rows


def forging(day: int, row: Visit) -> bool:
    return day >= 30 and row.country == "b"


WORLD = world(45, forging)


def days_held(trust: RunningTrust, samples: list[Sample], rows: list[Any]) -> dict[str, list[int]]:
    """Return the days on which each range was held."""
    found = dict[str, set[int]]()
    for hold in trust.follow(samples, rows):
        found.setdefault(hold.source, set()).add(samples[hold.at].prediction.t // DAY_MS)
    return {name: sorted(days) for name, days in found.items()}


def trust(task: Task | None = None) -> RunningTrust:
    return running_trust(SPEC, task or Binary(), Visit)


@pytest.mark.parametrize("task", [Binary(), Classes(3)])
def test_the_forged_value_is_held_alone_until_its_time_is_over_and_believed_then(task: Task) -> None:
    one = trust(task)
    held = days_held(one, *world(110, forging, task.outputs if task.outputs > 1 else 2))
    assert set(held) == {"country=b"}
    first, *_, last = held["country=b"]
    assert 36 < first < 40
    assert len(held["country=b"]) == SPEC.hold_days
    assert last == first + SPEC.hold_days - 1
    assert set(one.doubts) == {"country=b"}
    assert 29 * A_DAY <= one.doubts["country=b"] <= 31 * A_DAY


def test_a_person_who_releases_a_range_says_that_the_world_has_changed() -> None:
    samples, rows = world(120, forging)
    one, now = trust(), 45 * A_DAY
    assert days_held(one, samples[:now], rows[:now])
    one.rule("country=b", "release")
    assert not one.held
    assert not days_held(one, samples[now:], rows[now:])


def test_what_a_person_drops_is_held_until_it_is_released() -> None:
    samples, rows = world(80, lambda day, row: False)
    one, half = trust(), 40 * A_DAY
    assert not one.follow(samples[:half], rows[:half])
    one.rule("page=x", "drop")
    held = days_held(one, samples[half:], rows[half:])
    assert held == {"page=x": list(range(40, 80))}
    one.rule("page=nowhere", "drop")
    assert one.held.keys() == {"page=x"}


def test_a_range_that_agrees_again_is_free_again() -> None:
    one = trust()
    held = days_held(one, *world(80, lambda day, row: 30 <= day < 40 and row.country == "b"))
    assert set(held) == {"country=b"}
    assert 46 < held["country=b"][-1] < 50


def test_a_day_of_storm_is_no_forgery_nor_are_days_on_which_all_is_different() -> None:
    assert not days_held(trust(), *world(60, lambda day, row: day % 7 == 3 and row.country == "b"))
    assert not days_held(trust(), *world(60, lambda day, row: 30 <= day < 31))


def test_outcomes_that_took_weeks_are_held_with_their_range_but_judge_none() -> None:
    def late(sample: Sample) -> Sample:
        asked = msgspec.structs.replace(sample.prediction, t=sample.prediction.t - 15 * DAY_MS)
        return msgspec.structs.replace(sample, prediction=asked)

    samples, rows = world(60, forging)
    of_b = [row.country == "b" for row in rows]
    mixed = [late(one) if b and at > 30 * A_DAY else one for at, (one, b) in enumerate(zip(samples, of_b, strict=True))]
    one = trust()
    assert not one.follow(mixed, rows)
    one.rule("country=b", "drop")
    assert {hold.source for hold in one.follow(mixed[-50:], rows[-50:])} == {"country=b"}


def test_marks_are_held_with_their_range_and_change_nothing() -> None:
    samples, rows = world(50, forging)
    one = trust()
    one.follow(samples, rows)
    mark, before = msgspec.structs.replace(samples[0], kind=WAITING), one.state()
    new = Visit("nowhere", "z", 0.0)
    holds = one.follow([mark, mark, mark], [Visit("a", "x", 0.0), Visit("b", "x", 0.0), new])
    assert [(hold.at, hold.source) for hold in holds] == [(1, "country=b")]
    assert all(torch.equal(value, before[name]) for name, value in one.state().items())


@settings(max_examples=12, deadline=None)
@given(
    cuts=st.lists(st.integers(0, 45 * A_DAY), max_size=6),
    marks=st.sets(st.integers(0, 45 * A_DAY - 1), max_size=30),
    said=st.sampled_from(["release", "drop"]),
    when=st.integers(30 * A_DAY, 45 * A_DAY),
)
def test_the_state_is_the_same_however_the_log_is_cut_and_through_loads(
    cuts: list[int], marks: set[int], said: Said, when: int
) -> None:
    whole, parts = trust(), trust()
    log = [msgspec.structs.replace(one, kind=WAITING) if at in marks else one for at, one in enumerate(WORLD[0])]
    rows, found = WORLD[1], dict[str, list[int]](whole=[], parts=[])
    for name, ends in (("whole", []), ("parts", cuts)):
        bounds = sorted({0, when, len(log), *ends})
        for start, stop in pairwise(bounds):
            one = whole if name == "whole" else parts
            if start == when:
                one.rule("country=b", said)
            found[name] += [start + hold.at for hold in one.follow(log[start:stop], rows[start:stop])]
            if name == "parts":
                state, parts = parts.state(), trust()
                parts.load(state)
    assert found["whole"] == found["parts"]
    ours = parts.state()
    assert all(torch.equal(value, ours[key]) for key, value in whole.state().items())


def test_a_state_of_the_rule_before_goes_on_with_what_it_held() -> None:
    samples, rows = world(10, lambda day, row: False)
    of = {"first": {"age": []}, "ends": {"age": [-1.0, 0.0, 1.0]}, "values": {"country": ["d", "b"], "page": ["y"]}}
    source = {"excess": 0.4, "n": 700, "since_ms": 5, "until_ms": DAY_MS // 2, "holds": 1, "turns_n": 3}
    free = {"excess": 0.0, "n": 10, "since_ms": None}
    sources = {"country=b": source, "age from 1": source, "country=d": free}
    old = {"sources": sources, "seen": 900, "now_ms": 10, "of": of, "doubts": {"country=b": 30}}
    packed = torch.frombuffer(bytearray(msgspec.msgpack.encode(old)), dtype=torch.uint8)
    one = trust()
    one.load({"trust": packed})
    assert (set(one.held), one.seen, one.doubts) == ({"country=b", "age from 1"}, 900, {"country=b": 30})
    assert one.held["country=b"].excess == pytest.approx(0.4)
    assert one.doubted(Visit("b", "x", None), 31) == "country=b"
    assert {hold.source for hold in one.follow(samples[:50], rows[:50])} == {"country=b", "age from 1"}
    assert not one.follow(samples[A_DAY:], rows[A_DAY:])


def test_a_state_of_named_sources_or_of_other_fields_is_begun_anew() -> None:
    samples, rows = world(40, forging)
    named, one = running_trust(Trust(source="country"), Binary(), Visit), trust()
    named.follow(samples, rows)
    one.load(named.state())
    assert one.seen == len(samples)
    several = trust(Classes(5))
    several.load(one.state())
    named.load(one.state())
    assert (several.seen, named.seen) == (len(samples), len(samples))
    assert not several.held
    assert math.isfinite(sum(float(value.double().sum()) for value in several.state().values()))
