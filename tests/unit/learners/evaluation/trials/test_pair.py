"""W and a pair: the formula by hand, its error rate, its power, and that neither cuts nor labels that wait help."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from learners.evaluation.trials.asked import DAY_MS
from learners.evaluation.trials.pair import Compared, Pair
from learners.evaluation.trials.wealth import BETS, Floats, Wealth

NEEDED = math.log(20)


def draw(rng: np.random.Generator, n: int, mean: float) -> Floats:
    """Return differences of ±0.5 around a mean."""
    return rng.choice([-0.5, 0.5], size=n, p=[0.5 - mean, 0.5 + mean])


def seen(
    differences: Floats, known: np.ndarray | None = None, gone: np.ndarray | None = None, a_day: int = 10
) -> Compared:
    """Return predictions of so many a day, by what is `known`, or `gone`."""
    n = len(differences)
    known = np.ones(n, bool) if known is None else known
    gone = np.zeros(n, bool) if gone is None else gone
    waits = np.flatnonzero(~(known | gone))
    t_ms = np.arange(n) * (DAY_MS // a_day)
    bound = np.full(n, 0.5)
    ends = np.flatnonzero(np.diff(t_ms // DAY_MS, append=-1))
    told = np.where(known, differences, np.nan)
    return Compared(t_ms, told, bound, bound, known, gone, int(waits[0]) if len(waits) else n, ends)


def part(of: Compared, start: int, stop: int) -> Compared:
    """Return predictions as a later look has them, of which all up to `start` were settled before."""
    at, ends = slice(start, stop), of.ends[(of.ends >= start) & (of.ends < stop)] - start
    bounds, reverse, known, gone = of.bounds[at], of.reverse[at], of.known[at], of.gone[at]
    return Compared(of.t_ms[at], of.differences[at], bounds, reverse, known, gone, stop - start, ends)


def pair(margin: float = 0.0, bound: float = 0.5) -> Pair:
    return Pair("first", 0, 0, margin, bound, bound)


def looked(of: Compared, margin: float = 0.0) -> Pair:
    made = pair(margin)
    made.look(of, NEEDED)
    return made


def test_wealth_is_the_formula() -> None:
    gains, bounds = np.array([0.3, -0.2, 0.5]), np.array([0.4, 0.9, 0.1])
    path = Wealth(0.5).path(gains, bounds)
    logs, bound = np.zeros(10), 0.5
    for gain, b, log_wealth in zip(gains, bounds, path, strict=True):
        bound = max(bound, b)
        logs += np.log(1 + BETS * gain / bound)
        assert log_wealth == pytest.approx(math.log(np.exp(logs).mean()))


@given(st.lists(st.integers(0, 40), min_size=1, max_size=8), st.integers(0, 2**32 - 1))
@settings(max_examples=30)
def test_the_cut_changes_not_one_bit(cuts: list[int], seed: int) -> None:
    rng = np.random.default_rng(seed)
    gains, bounds = rng.normal(0, 0.1, sum(cuts)), rng.random(sum(cuts)) + 1
    whole, parted = Wealth(0.5), Wealth(0.5)
    at = np.cumsum([0, *cuts])
    parts = [parted.path(gains[a:b], bounds[a:b]) for a, b in itertools.pairwise(at)]
    assert np.array_equal(np.concatenate(parts), whole.path(gains, bounds))


@given(st.integers(0, 2**32 - 1), st.lists(st.integers(1, 60), max_size=4))
@settings(max_examples=30)
def test_looks_change_nothing(seed: int, looks: list[int]) -> None:
    rng = np.random.default_rng(seed)
    of = seen(draw(rng, 300, 0.1))
    once, often, start = looked(of), pair(), 0
    for stop in [*itertools.accumulate(10 * n for n in looks if sum(looks) <= 25), 300]:
        often.look(part(of, start, stop), NEEDED)
        start = stop
    assert (often.proven_day, often.sums.samples) == (once.proven_day, once.sums.samples)
    assert often.sums.mean == pytest.approx(once.sums.mean)


@given(st.data())
@settings(max_examples=60)
def test_labels_that_wait_never_help(data: st.DataObject) -> None:
    """Invariant 1: with any labels missing the evidence is nowhere more than that of all, for any margin."""
    n = 40
    differences = np.array(data.draw(st.lists(st.floats(-0.5, 0.5), min_size=n, max_size=n)))
    known = np.array(data.draw(st.lists(st.booleans(), min_size=n, max_size=n)))
    never = np.array(data.draw(st.lists(st.booleans(), min_size=n, max_size=n))) & ~known
    margin = data.draw(st.sampled_from([-0.01, 0.0, 0.01]))
    some, told = looked(seen(differences, known), margin), looked(seen(differences, ~never, never), margin)
    assert some.log_wealth <= told.log_wealth + 1e-9
    assert some.log_against <= told.log_against + 1e-9


def test_without_a_gain_it_is_proven_in_less_than_alpha_of_all_runs() -> None:
    rng = np.random.default_rng(1)
    proven = [looked(seen(draw(rng, 3_000, 0.0))).proven_day is not None for _ in range(400)]
    assert sum(proven) <= 0.05 * 400


def test_a_gain_is_proven_and_a_loss_is_shown() -> None:
    rng = np.random.default_rng(2)
    better, worse = (looked(seen(draw(rng, 20_000, mean), a_day=900)) for mean in (0.05, -0.05))
    assert better.proven_day is not None
    assert better.log_against < 0.1
    assert worse.proven_day is None
    assert worse.log_against > NEEDED


def test_equal_models_pass_by_a_margin_alone() -> None:
    same = seen(np.zeros(20_000), a_day=900)
    assert looked(same, -0.0025).log_wealth > 0
    assert looked(same).log_wealth == looked(same).log_against == 0


def test_only_ends_of_whole_days_prove() -> None:
    won = np.full(25, 0.5)
    assert looked(seen(won)).proven_day == 0
    late = Pair("first", 0, DAY_MS // 2, 0.0, 0.5, 0.5)  # its first day is half of one
    late.look(part(seen(won), 5, 25), NEEDED)
    assert late.proven_day == 1
