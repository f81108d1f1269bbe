"""The gate: its formula by hand, its error rate under a null, its power, and that looking often costs nothing."""

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from learners.evaluation.gate import BETS, Floats, Gate, Promotion, Wealth
from learners.evaluation.verdict import Decision
from streams.errors import ConfigError

POLICY = Promotion(alpha=0.05, candidates_a_year=1, margin=0.0)


def gate(policy: Promotion = POLICY, margin: float = 0.0, bound: float = 0.5) -> Gate:
    return Gate(policy, margin, bound, bound)


def draw(rng: np.random.Generator, n: int, mean: float) -> tuple[Floats, Floats, Floats]:
    """Return differences within ±0.5 of a mean, with that as their bound."""
    differences = rng.choice([-0.5, 0.5], size=n, p=[0.5 - mean, 0.5 + mean])
    return differences, np.full(n, 0.5), np.full(n, 0.5)


def test_wealth_is_the_formula() -> None:
    gains, bounds = np.array([0.3, -0.2, 0.5]), np.array([0.4, 0.9, 0.1])
    path = Wealth(0.5).path(gains, bounds)
    logs, bound = np.zeros(10), 0.5
    for gain, b, log_wealth in zip(gains, bounds, path, strict=True):
        bound = max(bound, b)
        logs += np.log(1 + BETS * gain / bound)
        assert log_wealth == pytest.approx(math.log(np.exp(logs).mean()))


@given(st.lists(st.integers(1, 40), min_size=1, max_size=8), st.integers(0, 2**32 - 1))
@settings(max_examples=30)
def test_the_cut_into_looks_changes_nothing(cuts: list[int], seed: int) -> None:
    parts = draw(np.random.default_rng(seed), sum(cuts), 0.05)
    at_once, in_looks = gate(), gate()
    at_once.update(*parts)
    start = 0
    for size in cuts:
        in_looks.update(*(p[start : start + size] for p in parts))
        start += size
    assert in_looks.decision == at_once.decision
    assert in_looks.samples == at_once.samples
    assert in_looks.log_wealth == pytest.approx(at_once.log_wealth)
    assert in_looks.gain == pytest.approx(at_once.gain)


def test_without_a_gain_it_promotes_in_less_than_alpha_of_all_runs() -> None:
    rng = np.random.default_rng(1)
    policy = Promotion(alpha=0.05, candidates_a_year=1, futility=1e-9, horizon=3_000)
    decisions = [gate(policy).update(*draw(rng, 3_000, 0.0)) for _ in range(400)]
    assert decisions.count(Decision.PROVEN) <= 0.05 * 400
    assert set(decisions) == {Decision.PROVEN, Decision.NOT_PROVEN} or decisions.count(Decision.PROVEN) == 0


def test_a_gain_is_proven_and_a_loss_is_futile() -> None:
    rng = np.random.default_rng(2)
    assert gate().update(*draw(rng, 20_000, 0.05)) is Decision.PROVEN
    assert gate().update(*draw(rng, 20_000, -0.05)) is Decision.FUTILE


def test_a_margin_lets_an_equal_candidate_pass_and_stops_at_the_horizon_otherwise() -> None:
    same = (np.zeros(20_000), np.full(20_000, 1e-3), np.full(20_000, 1e-3))
    assert gate(margin=-0.0025, bound=1e-3).update(*same) is Decision.PROVEN
    assert gate(Promotion(horizon=500), bound=1e-3).update(*same) is Decision.NOT_PROVEN


def test_nothing_counts_after_the_decision() -> None:
    decided = gate()
    decided.update(*draw(np.random.default_rng(3), 20_000, 0.1))
    samples = decided.samples
    assert decided.update(*draw(np.random.default_rng(4), 100, -0.4)) is Decision.PROVEN
    assert decided.samples == samples < 20_000


def test_settings_that_contradict_are_refused() -> None:
    wrong: list[tuple[dict[str, Any], str]] = [
        ({"alpha": 1.5}, "Promotion.alpha must be above 0 and below 1, got 1.5"),
        ({"futility": 0.0}, "Promotion.futility must be above 0 and below 1, got 0.0"),
        ({"every_days": 0}, "Promotion.every_days must be above 0"),
        ({"every_days": 1e308}, "Promotion.every_days must be above 0 and below 36,600"),
        ({"margin": 1.0}, "Promotion.margin must be above -1 and below 1, got 1.0"),
        ({"candidates_a_year": 0}, "Promotion.candidates_a_year must be at least 1"),
        ({"horizon": 10**12}, "Promotion.horizon must be at least 1 and at most"),
    ]
    for parts, said in wrong:
        with pytest.raises(ConfigError) as raised:
            Promotion(**parts)
        assert said in str(raised.value)


@pytest.mark.parametrize(
    ("every_days", "candidates", "expected"),
    [
        (7, 52, None),
        (7, 47, "0.056"),
        (1, 52, "0.35"),
        (1, 365, None),
        (0.5, 365, "0.1"),
        (30, 1, "0.61"),
        (365, 1, None),
    ],
)
def test_more_candidates_than_share_alpha_are_doubted(every_days: float, candidates: int, expected: str | None) -> None:
    doubt = Promotion(every_days=every_days, candidates_a_year=candidates).doubt
    assert (doubt is None) == (expected is None)
    if doubt:
        assert f"up to {expected} false promotions a year are expected, not 0.05" in doubt
        made = int(doubt.rpartition(" ")[2])
        assert Promotion(every_days=every_days, candidates_a_year=made).doubt is None
