import math
from typing import Any

import msgspec
import numpy as np
import pytest

from learners.live.compiled import Ints
from learners.live.experts.chain import FADING, SEGMENTS, START, Chain, resolve
from learners.live.features.reader import Reader
from learners.live.make import chain as chain_of
from learners.live.settings import Wide
from learners.live.tables.gaussian import CONSTANT, LEAST


class Row(msgspec.Struct):
    kind: str
    size: float = 1.0


def chain(marks: int = 3, bits: int = 10) -> Chain:
    wide = Wide(bits=bits)
    return chain_of(wide, Reader(wide.fields(Row)), marks)


def days(count: int) -> Ints:
    return 86_400_000 * np.arange(count)


def test_what_comes_within_an_hour_says_little_of_the_next_days() -> None:
    """Rows of twenty days, a thousand a day: the label of all of a day's is the same, and one day in four has a 1."""
    made, day = chain(1), np.arange(20).repeat(1_000)
    t_ms = 86_400_000 * day + 80_000 * np.tile(np.arange(1_000), 20)
    made.waited([Row("a")] * 20_000, np.zeros(20_000, np.int64), (day % 4 == 0) * 1.0, np.ones(20_000), t_ms)
    p = 1 / (1 + np.exp(-made.answer([Row("a")])[0, 0]))
    assert 0.05 < p < 0.4


def test_shares_of_both_labels_and_of_those_that_wait_are_one() -> None:
    rng = np.random.default_rng(0)
    segments, beta = np.array([0, 0, 1, 1]), np.ones((8, 2))
    beta[:, 0] = rng.normal(3, 2, 8)
    scores = rng.normal(size=(50, 4))
    found = resolve(scores, beta, segments)
    for row in range(50):
        waits, came = 1.0, [0.0, 0.0]
        for j, segment in enumerate(segments):
            h = [1 / (1 + math.exp(-(START + beta[2 * j + c, 0] + scores[row, 2 * segment + c]))) for c in (0, 1)]
            h = [one / max(sum(h), 1.0) for one in h]
            came = [came[c] + waits * h[c] for c in (0, 1)]
            waits *= 1 - sum(h)
        assert sum(came) + waits == pytest.approx(1)
        assert found[row] == pytest.approx(math.log((came[1] + 1e-6) / (came[0] + 1e-6)))


def test_a_new_chain_knows_nothing() -> None:
    assert chain().answer([Row("a")]) == pytest.approx(0)


def test_an_outcome_in_bucket_j_teaches_exactly_j_marks() -> None:
    made = chain(marks=4)
    made.waited([Row("a")] * 3, np.array([0, 1, 2]), np.array([np.nan, np.nan, 1.0]), np.ones(3), days(3))
    precision = made.state()["chain.beta"][:, 1]
    assert (precision > 0).tolist() == [True] * 6 + [False] * 2
    means = made.state()["chain.beta"][:, 0]
    assert (means > 0).tolist() == [False] * 5 + [True] + [False] * 2


def test_a_slot_forgets_as_an_outcome_touches_it_not_as_a_row_waits() -> None:
    rows = [Row("a")] * 50_000
    waiting, ending = chain(), chain()
    waiting.waited(rows, np.zeros(50_000, np.int64), np.full(50_000, np.nan), np.ones(50_000), days(50_000))
    ending.waited(rows, np.zeros(50_000, np.int64), np.ones(50_000), np.ones(50_000), days(50_000))
    assert (waiting.beta[:2, 1] > 1 / CONSTANT + 50_000 * LEAST).all()  # all that was learned is there
    assert ending.precision[ending.precision > 0].max() < waiting.precision.max() / 2  # of the last 10,000 alone
    assert (ending.beta[:2, 1] < 1 / CONSTANT + 1 / FADING).all()  # of the last hundred


def test_a_mark_that_none_has_passed_is_as_the_last_that_is_known() -> None:
    """A young feed: all of label 1 came at once, all others wait for a label 0 that comes little by little."""
    made = chain(marks=30)
    for _ in range(100):
        made.waited(
            [Row("a")] * 10, np.zeros(10, np.int64), np.array([1.0] * 3 + [0.0] + [np.nan] * 6), np.ones(10), days(10)
        )
        made.waited([Row("a")] * 6, np.ones(6, np.int64), np.array([0.0] + [np.nan] * 5), np.ones(6), days(6))
    assert 1 / (1 + np.exp(-made.answer([Row("a")])[0, 0])) == pytest.approx(0.3, abs=0.02)
    follower = chain(marks=30)
    follower.follow(made.changes(whole=True))
    assert follower.answer([Row("a")]).tobytes() == made.answer([Row("a")]).tobytes()
    before = made.beta[2:4].copy()
    made.waited([Row("a")], np.array([2]), np.array([np.nan]), np.ones(1), days(1))
    assert made.beta[4:6, 0] == pytest.approx(before[:, 0], abs=0.5)


def test_numbers_are_followed_at_the_first_mark_alone() -> None:
    made = chain()
    made.waited([Row("a", 5.0)] * 3, np.array([0, 1, 2]), np.full(3, np.nan), np.ones(3), days(3))
    state = made.state()
    assert (state["features.seen"].tolist(), state["features.mean"].tolist()) == ([1], [5.0])


@pytest.mark.parametrize("marks", [1, 2, 5, 6, 17, 100])
def test_marks_are_shared_among_the_segments(marks: int) -> None:
    made = chain(marks)
    assert made.state()["chain.mean"].shape == (1 << 10, 2 * min(SEGMENTS, marks))
    made.waited([Row("a")] * marks, np.arange(marks), np.full(marks, np.nan), np.ones(marks), days(marks))
    assert np.isfinite(made.answer([Row("a")])).all()


@pytest.mark.parametrize("late", [0, 1])
def test_it_is_right_while_the_late_label_has_not_come(late: int) -> None:
    """Of kind "a" 70 % have label 1, of kind "b" 20 %; one label comes in bucket 1, the other in bucket 3."""
    rng, made = np.random.default_rng(0), chain()
    due: list[tuple[int, Row, int, float]] = []
    for t in range(4_000):
        row, p = (Row("a"), 0.7) if rng.random() < 0.5 else (Row("b"), 0.2)
        y = float(rng.random() < p)
        bucket = 2 if y == late else 0
        due += [(t + 500 * (j + 1), row, j, y if j == bucket else math.nan) for j in range(bucket + 1)]
    events: list[Any] = sorted(due, key=lambda one: one[0])
    events = [one for one in events if one[0] <= 4_000]
    rows, marks, outcomes = ([one[k] for one in events] for k in (1, 2, 3))
    made.waited(rows, np.array(marks), np.array(outcomes), np.ones(len(rows)), days(len(rows)))
    found = made.answer([Row("a"), Row("b")])[:, 0]
    assert 1 / (1 + np.exp(-found)) == pytest.approx([0.7, 0.2], abs=0.06)


def test_a_weight_that_is_none_teaches_nothing() -> None:
    made, before = chain(), chain().state()
    made.waited([Row("a")] * 3, np.zeros(3, np.int64), np.ones(3), np.array([0.0, np.nan, -1.0]), days(3))
    assert all(value.equal(before[name]) for name, value in made.state().items())


def test_a_state_of_before_it_forgot_by_time_is_taken() -> None:
    made, later = chain(), chain()
    made.waited([Row("a")] * 9, np.zeros(9, np.int64), np.ones(9), np.ones(9), days(9))
    later.load({name: value for name, value in made.state().items() if name not in ("chain.last", "chain.fades")})
    assert later.answer([Row("a")]).tobytes() == made.answer([Row("a")]).tobytes()
