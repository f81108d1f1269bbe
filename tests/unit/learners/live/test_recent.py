"""Hints of recent errors: the formula, any input, and a mixture that gives them nothing before it learned them."""

import math
from collections.abc import Sequence

import msgspec
import numpy as np
import pytest

from learners.live.compiled import Doubles
from learners.live.features.fields import fields_of
from learners.live.features.reader import Reader
from learners.live.mixtures.mixture import Mixture
from learners.live.recent import FIELDS, GAMMA, Recent


class Row(msgspec.Struct):
    """A category, a text or category, and a number."""

    place: str
    note: str | None
    price: float


def recent() -> Recent:
    return Recent(Reader(fields_of(Row)))


def rows(n: int) -> Sequence[Row]:
    rng = np.random.default_rng(0)
    return tuple(Row(str(rng.integers(3)), str(rng.integers(2)), float(rng.normal())) for _ in range(n))


def test_hints_are_those_of_the_formula() -> None:
    made, rng, sums = recent(), np.random.default_rng(1), dict[tuple[str, str], tuple[float, float]]()
    learned = rows(200)
    labels, logits = (rng.random(200) < 0.3).astype(float), rng.normal(size=200)
    for row, y, z in zip(learned, labels, logits, strict=True):
        p = 1 / (1 + math.exp(-z))
        for key in (("", ""), ("place", row.place), ("note", str(row.note))):
            g, h = sums.get(key, (0.0, 0.0))
            sums[key] = (GAMMA * g + y - p, GAMMA * h + p * (1 - p))
    for start in range(0, 200, 7):
        made.learn(learned[start : start + 7], labels[start : start + 7], logits[start : start + 7])
    asked = rows(20)
    expected = [
        [g / (h + 1) for g, h in (sums["", ""], sums["place", row.place], sums["note", str(row.note)])] for row in asked
    ]
    np.testing.assert_allclose(made.answer(asked), expected, rtol=1e-12)
    assert made.names == ("recent", "recent place", "recent note")


def test_what_was_never_seen_has_no_hint() -> None:
    made = recent()
    made.learn(rows(50), np.ones(50), np.full(50, -2.0))
    assert made.answer([Row("nowhere", None, 0.0)])[0, 1:].tolist() == [0.0, 0.0]
    assert made.answer([Row("nowhere", None, 0.0)])[0, 0] > 0.5


def test_a_text_is_in_no_category() -> None:
    made = recent()
    text = (Row("0", "one two three four five six", 0.0),) * 30
    made.learn(text, np.ones(30), np.zeros(30))
    hints = made.answer(text)
    assert hints[0, 2] == hints[0, 0]  # nothing but all of them


@pytest.mark.parametrize("hostile", [math.nan, math.inf, -math.inf, 1e300])
def test_no_value_makes_a_hint_that_is_not_finite(hostile: float) -> None:
    made, some = recent(), rows(10)
    made.learn(some, np.full(10, hostile), np.zeros(10))
    made.learn(some, np.zeros(10), np.full(10, hostile))
    assert np.isfinite(made.answer(some)).all()


def test_at_most_so_many_fields_have_hints() -> None:
    many = msgspec.defstruct("Many", [(f"f{n}", str) for n in range(20)])
    assert len(Recent(Reader(fields_of(many))).names) == 1 + FIELDS


def test_hints_are_worth_nothing_at_first_and_learned() -> None:
    def said(n: int) -> tuple[Doubles, Doubles]:
        rng = np.random.default_rng(2)
        z, hint = rng.normal(size=n), rng.normal(size=n)
        return np.stack([z, z, hint], axis=1), (rng.random(n) < 1 / (1 + np.exp(-z - hint))).astype(float)

    mixture, (logits, labels) = Mixture([1, 1], hints=1), said(4_000)
    other = logits * [1, 1, 0]
    np.testing.assert_allclose(mixture.answer(logits), mixture.answer(other), atol=0.01)
    mixture.learn(logits, labels, np.ones(4_000))
    assert np.abs(mixture.answer(logits) - mixture.answer(other)).mean() > 0.1
    assert np.isfinite(mixture.answer(np.array([[1.0, 1.0, np.nan]]))).all()
