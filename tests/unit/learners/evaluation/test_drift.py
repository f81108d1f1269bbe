"""Drift: what changes is named within two blocks, what always changes is not, however samples are cut."""

import math

import msgspec
import numpy as np
import pytest

from learners.evaluation import drift
from learners.evaluation.drift import PAST, SERVED, Block, Change, Drift, distances
from learners.live.features.fields import NONE, fields_of
from learners.live.features.rows import Doubles

BLOCK = 500
BLOCKS, AT = 20, 14  # the first block of what is changed
DAY_MS = 86_400_000


class Visit(msgspec.Struct):
    country: str | None
    age: float | None
    hot: float  # like weather: each block has its own


@pytest.fixture(autouse=True)
def _small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(drift, "BLOCK", BLOCK)


def visits(blocks: int = BLOCKS) -> list[Visit]:
    rng = np.random.default_rng(0)
    n = blocks * BLOCK
    hot = rng.normal(size=n) + np.repeat(rng.normal(size=blocks), BLOCK)
    country, age = rng.choice(["at", "be", "ch"], n, p=[0.7, 0.24, 0.06]), rng.normal(40, 10, n)
    return [Visit(str(a), b, c) for a, b, c in zip(country, age.tolist(), hot.tolist(), strict=True)]


def scores(n: int, k: int = 1) -> Doubles:
    return np.random.default_rng(1).normal(size=(n, k))


def taken(rows: list[Visit], answers: Doubles | None = None, size: int = 130) -> Drift:
    """Return what takes the rows, a day for each block."""
    made, answers = Drift(fields_of(Visit)), scores(len(rows)) if answers is None else answers
    for start in range(0, len(rows), size):
        part = slice(start, start + size)
        made.add(rows[part], [n // BLOCK * DAY_MS for n in range(len(rows))[part]], answers[part])
    return made


def only(rows: list[Visit], answers: Doubles | None = None) -> Change:
    """Return the one change."""
    [change] = taken(rows, answers).changes
    return change


def test_nothing_is_named_where_nothing_but_the_weather_changes() -> None:
    assert taken(visits()).changes == []


@pytest.mark.parametrize("begin", [AT * BLOCK, AT * BLOCK + BLOCK // 2, AT * BLOCK + BLOCK - 20])
def test_a_mean_that_moves_by_half_a_deviation_is_named_within_two_blocks(begin: int) -> None:
    rows = visits()
    for row in rows[begin:]:
        row.age = (row.age or 0) + 5
    change = only(rows[: (AT + 2) * BLOCK])
    assert (change.field, change.since_ms // DAY_MS in (AT, AT + 1)) == ("age", True)
    assert 0.02 < change.before < 0.08 < 0.1 < change.distance


def test_another_unit_is_named_even_where_the_weather_is() -> None:
    rows = visits()
    for row in rows[AT * BLOCK :]:
        row.hot = 32 + 1.8 * row.hot
    change = only(rows)
    assert change == Change("hot", "distance", change.distance, change.before, AT * DAY_MS)
    assert change.distance > 0.99


def test_a_rare_category_that_is_renamed_is_named() -> None:
    rows = visits()
    for row in rows[AT * BLOCK :]:
        row.country = "swiss" if row.country == "ch" else row.country
    change = only(rows)
    assert (change.field, change.what, change.before) == ("country", "new", 0)
    assert change.distance == pytest.approx(0.06, abs=0.03)


@pytest.mark.parametrize(("gone", "what"), [(None, "missing"), (math.nan, "missing")])
def test_a_number_that_goes_missing_is_named(gone: float | None, what: str) -> None:
    rows = visits()
    for row in rows[AT * BLOCK :: 10]:
        row.age = gone
    change = only(rows)
    assert (change.field, change.what) == ("age", what)
    assert change.distance == pytest.approx(0.1, abs=0.001)


def test_a_category_that_goes_missing_is_named() -> None:
    rows = visits()
    for row in rows[AT * BLOCK :]:
        row.country = None
    assert only(rows).field == "country"


def test_a_change_of_what_was_answered_is_named() -> None:
    rows, one, several = visits(), scores(BLOCKS * BLOCK), scores(BLOCKS * BLOCK, 3)
    one[AT * BLOCK :] += 1
    several[AT * BLOCK :, 1] += 1
    assert only(rows, one).field == only(rows, several).field == SERVED


def test_how_samples_are_cut_changes_nothing() -> None:
    rows = visits()
    for row in rows[AT * BLOCK + 100 :]:
        row.age, row.country = (row.age or 0) + 10, "at"
    first, *others = [taken(rows, size=size).changes for size in (1, 77, 1_300, len(rows))]
    assert first
    assert all(other == first for other in others)


def test_a_change_is_named_once_and_a_later_one_anew() -> None:
    rows = visits(2 * BLOCKS)
    for row in rows[AT * BLOCK :]:
        row.age = (row.age or 0) + 10
    assert only(rows).since_ms == AT * DAY_MS
    for row in rows[(AT + BLOCKS) * BLOCK :]:
        row.age = (row.age or 0) - 30
    assert only(rows).since_ms == (AT + BLOCKS) * DAY_MS


def test_a_block_that_is_far_from_all_does_not_hide_a_later_change() -> None:
    rows = visits()
    for row in rows[9 * BLOCK : 10 * BLOCK]:
        row.age = (row.age or 0) + 1_000
    assert only(rows).since_ms == 9 * DAY_MS
    for row in rows[AT * BLOCK :]:
        row.age = (row.age or 0) + 7
    assert only(rows).since_ms == AT * DAY_MS


def test_what_is_missing_is_not_new() -> None:
    numbers = np.array([[1.0, 2.0, 2.0, math.nan], [0.0, 0.0, 1.0, 1.0]])
    others = np.array([[1.0, 2.0, math.nan, math.nan], [0.0, 1.0, 1.0, 1.0]])
    tokens, times = np.empty((0, 4), np.uint32), np.zeros(4, np.int64)
    far = distances(Block(times, numbers, tokens), Block(times, others, tokens))
    assert far.T.tolist() == [[0.25, 0.25, 0.0], [0.25, 0.0, 0.0]]
    assert not distances(Block(times, numbers, tokens), Block(times, numbers, tokens)).any()


def test_memory_is_bounded() -> None:
    made = taken(visits(PAST + 30), size=BLOCK - 1)
    assert len(made._past) == PAST
    assert all(part.numbers.base is None and part.numbers.shape[1] == BLOCK // 10 for part in made._window)
    assert sum(len(part.t_ms) for part in made._waiting) < BLOCK


def test_features_without_a_field_to_read_leave_what_was_answered() -> None:
    made = Drift(NONE)
    answers = scores(BLOCKS * BLOCK)
    answers[AT * BLOCK :] += 1
    made.add([None] * len(answers), [0] * len(answers), answers)
    assert [change.field for change in made.changes] == [SERVED]
