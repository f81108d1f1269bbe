"""Live experts on any rows: cuts change no bit, nothing makes a table infinite, a unit changes nothing."""

import itertools
import math
from collections.abc import Sequence
from typing import Any

import msgspec
import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from learners.live.compiled import Doubles
from learners.live.experts.chain import Chain
from learners.live.experts.wide import Linear
from learners.live.features.reader import Reader
from learners.live.make import chain as chain_of
from learners.live.make import linear as linear_of
from learners.live.settings import Wide

WIDE = Wide(bits=10)
HOSTILE = [math.nan, math.inf, -math.inf, 1e300, -1e300, 1.8e308, 5e-324, -0.0, 1e150, 1e-160]


class Row(msgspec.Struct):
    place: str | None
    price: float | None
    hour: int | None
    cost: float


numbers = st.sampled_from(HOSTILE) | st.floats() | st.floats(-3, 3)
whole = st.none() | st.integers(-300, 300) | st.sampled_from([10**400, -(2**63)])
texts = st.none() | st.sampled_from(["", "a", "b", "one two three four five six"]) | st.text(max_size=30)
some = st.lists(st.builds(Row, texts, st.none() | numbers, whole, numbers), min_size=1, max_size=40)
DAY_MS = 86_400_000
QUICK = settings(max_examples=40, deadline=None)


def reader() -> Reader:
    return Reader(WIDE.fields(Row))


def linear() -> Linear:
    return linear_of(WIDE, reader())


def chain() -> Chain:
    return chain_of(WIDE, reader(), 4)


def learned(expert: Linear | Chain, rows: Sequence[Row], labels: Doubles, weights: Doubles, start: int = 0) -> None:
    if isinstance(expert, Linear):
        expert.learn(rows, labels, weights)
    else:
        marks = np.arange(start, start + len(rows)) % 4
        expert.waited(
            rows, marks, np.where(marks == 3, labels, np.nan), weights, DAY_MS * np.arange(start, start + len(rows))
        )


def warm(expert: Linear | Chain) -> None:
    """Let it know enough numbers for curves."""
    rng = np.random.default_rng(0)
    columns = zip(rng.normal(size=1_200), rng.integers(0, 24, 1_200), rng.normal(size=1_200), strict=True)
    rows = [Row("a" if x > 0 else "b", float(x), int(hour), float(y)) for x, hour, y in columns]
    labels = np.array([float(row.price or 0 > 0) > 0 for row in rows], np.float64)
    if isinstance(expert, Linear):
        expert.learn(rows, labels, np.ones(1_200))
    else:
        expert.waited(rows, np.zeros(1_200, np.int64), labels, np.ones(1_200), DAY_MS * np.arange(1_200))


def labels_of(rows: Sequence[Any], seed: int) -> Doubles:
    return np.random.default_rng(seed).integers(0, 2, len(rows)).astype(np.float64)


@QUICK
@given(some, st.lists(st.integers(0, 40), max_size=6), st.integers(0, 9), st.booleans())
def test_any_cut_of_the_samples_gives_the_same_bits(rows: list[Row], cuts: list[int], seed: int, warmed: bool) -> None:
    labels, weights = labels_of(rows, seed), np.random.default_rng(seed).random(len(rows))
    for make in (linear, chain):
        whole_, cut = make(), make()
        for expert in (whole_, cut):
            if warmed:
                warm(expert)
        learned(whole_, rows, labels, weights)
        edges = sorted({0, len(rows), *(at for at in cuts if at < len(rows))})
        for a, b in itertools.pairwise(edges):
            cut.answer(rows[a:b])
            learned(cut, rows[a:b], labels[a:b], weights[a:b], a)
        assert all(torch.equal(value, cut.state()[name]) for name, value in whole_.state().items())
        one_by_one = np.concatenate([cut.answer(rows[i : i + 1]) for i in range(len(rows))])
        assert np.array_equal(whole_.answer(rows), one_by_one)


@QUICK
@given(some, st.lists(numbers, min_size=40, max_size=40), st.lists(numbers, min_size=40, max_size=40), st.booleans())
def test_nothing_makes_a_table_infinite(
    rows: list[Row], labels: list[float], weights: list[float], warmed: bool
) -> None:
    for make in (linear, chain):
        expert = make()
        if warmed:
            warm(expert)
        for _ in range(3):
            learned(expert, rows, np.array(labels[: len(rows)]), np.array(weights[: len(rows)]))
        assert all(value.isfinite().all() for value in expert.state().values())
        assert np.isfinite(expert.answer(rows)).all()


@QUICK
@given(some, st.integers(0, 9))
def test_a_state_that_is_loaded_goes_on_as_if_nothing_had_been(rows: list[Row], seed: int) -> None:
    labels, weights = labels_of(rows, seed), np.ones(len(rows))
    for make in (linear, chain):
        expert, other = make(), make()
        learned(expert, rows, labels, weights)
        saved = expert.state()
        other.load(saved)
        for one in (expert, other):
            learned(one, rows, labels, weights)
        assert all(torch.equal(value, other.state()[name]) for name, value in expert.state().items())
        assert any(not torch.equal(value, expert.state()[name]) for name, value in saved.items())


@settings(max_examples=8, deadline=None)
@given(st.integers(-9, 9), st.integers(-9, 9), st.integers(0, 9))
def test_the_unit_of_a_number_changes_no_loss(first: int, second: int, seed: int) -> None:
    rng, losses = np.random.default_rng(seed), []
    price, cost = rng.normal(3, 2, 1_500), rng.exponential(1, 1_500)
    labels = (rng.random(1_500) < 1 / (1 + np.exp(2 - price + cost))).astype(np.float64)
    for a, b in ((1.0, 1.0), (10.0**first, 10.0**second)):
        expert = linear()
        rows = [Row("x", x * a, None, y * b) for x, y in zip(price.tolist(), cost.tolist(), strict=True)]
        answers = []
        for at in range(0, 1_500, 50):
            answers.append(expert.answer(rows[at : at + 50]))
            expert.learn(rows[at : at + 50], labels[at : at + 50], np.ones(50))
        z = np.concatenate(answers)
        losses.append((np.logaddexp(0, z) - labels[:, None] * z).mean(axis=0))
    assert np.abs(losses[0] - losses[1]).max() < 1e-3


@QUICK
@given(some)
def test_rows_are_read_together_as_one_by_one(rows: list[Row]) -> None:
    together, alone = reader().read(rows), [reader().read([row]) for row in rows]
    assert np.array_equal(together.tokens, np.concatenate([one.tokens for one in alone]))
    assert np.array_equal(together.numbers, np.concatenate([one.numbers for one in alone]), equal_nan=True)
    assert together.words.tolist() == [word for one in alone for word in one.words.tolist()]
