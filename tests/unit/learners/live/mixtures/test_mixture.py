"""The mixture: what several experts say, made one answer."""

import numpy as np
import pytest

from learners.live.compiled import Doubles
from learners.live.mixtures.mixture import SWITCH, Mixture
from streams.errors import ConfigError


def chance(logit: Doubles) -> Doubles:
    return np.asarray(1 / (1 + np.exp(-logit)))


def loss(p: Doubles, y: Doubles) -> float:
    return float(-np.log(np.where(y > 0, p, 1 - p)).mean())


def stream(n: int, seed: int = 0) -> tuple[Doubles, Doubles]:
    """Return true logits and labels."""
    draw = np.random.default_rng(seed)
    logit = draw.normal(0, 1.5, n)
    return logit, (draw.random(n) < chance(logit)).astype(float)


def prequential(mixture: Mixture, logits: Doubles, labels: Doubles) -> Doubles:
    """Return each answer, given before its label is learned."""
    answers = []
    for n in range(len(labels)):
        answers.append(mixture.answer(logits[n : n + 1])[0])
        mixture.learn(logits[n : n + 1], labels[n : n + 1], np.ones(1))
    return np.array(answers)


def test_it_starts_at_the_average_by_shares_and_half_of_it_is_the_one_that_may_answer_alone() -> None:
    logits = np.array([[0.3, -0.1, 0.2]])
    assert Mixture([1, 1, 2]).answer(logits)[0] == pytest.approx(chance(np.array(0.15)), abs=0.005)
    half = (chance(np.array(0.15)) + chance(np.array(-0.1))) / 2
    assert Mixture([1, 1, 2], alone=1).answer(logits)[0] == pytest.approx(half, abs=0.003)


def test_equal_experts_are_answered_as_one() -> None:
    logit, labels = stream(4_000)
    p = prequential(Mixture([1, 1, 1]), np.stack([logit] * 3, axis=1), labels)
    assert loss(p, labels) < loss(chance(logit), labels) + 0.003


@pytest.mark.parametrize("sure", [1.0, 9.0, 1e6, np.inf])
def test_a_sure_and_wrong_expert_costs_little(sure: float) -> None:
    logit, labels = stream(4_000)
    wrong = np.where(labels > 0, -sure, sure)
    p = prequential(Mixture([1, 1]), np.stack([logit, wrong], axis=1), labels)
    assert loss(p[500:], labels[500:]) < loss(chance(logit[500:]), labels[500:])  # it can be used by its sign


def test_logits_of_the_wrong_scale_are_put_right() -> None:
    logit, labels = stream(8_000)
    p = prequential(Mixture([1, 1]), np.stack([3 * logit, 3 * logit], axis=1), labels)
    best, raw = (loss(chance(scale * logit[4_000:]), labels[4_000:]) for scale in (1, 3))
    assert loss(p[4_000:], labels[4_000:]) < best + 0.02 * (raw - best)


def test_one_that_answers_alone_is_found() -> None:
    logit, labels = stream(4_000)
    noise = np.random.default_rng(1).normal(0, 4, (4_000, 3))
    logits = np.concatenate([noise, logit[:, None]], axis=1)
    p = prequential(Mixture([1, 1, 1, 1], alone=3), logits, labels)
    assert loss(p[1_000:], labels[1_000:]) < loss(chance(logit[1_000:]), labels[1_000:]) + 0.01


def test_one_that_has_no_answer_is_spoken_for_by_the_others() -> None:
    logits = np.array([[1.0, np.nan, 3.0], [np.nan, np.nan, -2.0], [np.nan, np.nan, np.nan]])
    spoken = np.array([[1.0, 2.0, 3.0], [-2.0, -2.0, -2.0], [0.0, 0.0, 0.0]])
    ours, theirs = Mixture([1, 2, 1]), Mixture([1, 2, 1])
    assert np.array_equal(ours.answer(logits), theirs.answer(spoken))
    ours.learn(logits, np.array([1.0, 0.0, 1.0]), np.ones(3))
    theirs.learn(spoken, np.array([1.0, 0.0, 1.0]), np.ones(3))
    assert np.array_equal(ours.theta, theirs.theta)


def test_a_weight_counts_as_often_as_it_says() -> None:
    logits, label = np.array([[1.0, -1.0]]), np.ones(1)
    once, twice = Mixture([1, 1]), Mixture([1, 1])
    twice.learn(logits, label, np.full(1, 2.0))
    for _ in range(2):
        once.learn(logits, label, np.ones(1))
    assert np.allclose(once.theta, twice.theta, rtol=0, atol=1e-4)


def test_a_bet_moves_the_choice_alone() -> None:
    logits, label = np.array([[3.0, -1.0]]), np.ones(1)
    plain, half, none = (Mixture([1, 1], switch=0.0) for _ in range(3))
    plain.learn(logits, label, np.ones(1))
    half.learn(logits, label, np.ones(1), np.full(1, 0.5))
    none.learn(logits, label, np.ones(1), np.zeros(1))
    assert np.array_equal(plain.theta, half.theta)
    assert np.array_equal(plain.variance, none.variance)
    first = Mixture([1, 1]).weights
    assert np.array_equal(none.weights, first)
    moved, by_half = np.log(plain.weights / plain.weights[0]), np.log(half.weights / half.weights[0])
    assert np.abs(moved).max() > 1e-4
    assert np.allclose(moved, 2 * by_half, rtol=1e-6, atol=1e-12)


def test_a_bet_is_never_more_than_the_weight() -> None:
    logits = np.array([[3.0, -1.0], [1.0, 2.0]])
    plain, more = Mixture([1, 1]), Mixture([1, 1])
    plain.learn(logits, np.array([1.0, np.nan]), np.ones(2))
    more.learn(logits, np.array([1.0, np.nan]), np.ones(2), np.full(2, 7.0))
    assert np.array_equal(plain.weights, more.weights)


def test_no_combiner_is_ever_given_up() -> None:
    mixture = Mixture([1, 1])
    mixture.learn(np.full((5_000, 2), 9.0), np.zeros(5_000), np.full(5_000, 1e6))
    assert mixture.weights.min() == pytest.approx(SWITCH / 3)
    assert mixture.weights.sum() == pytest.approx(1)
    assert SWITCH / 4 < mixture.answer(np.full((1, 2), 9.0))[0] < 1


@pytest.mark.parametrize("eta", [1.0, 0.05])
def test_the_choice_loses_what_its_bound_allows(eta: float) -> None:
    """Against the best combiner: (ln C + αT + …)/η; the average is one of them, so against the average too."""
    logit, labels = stream(3_000)
    logits = np.stack([logit, -logit], axis=1)
    p = prequential(Mixture([1, 1], eta=eta), logits, labels)
    average = chance(logits.mean(1))
    bound = (np.log(3) + SWITCH * len(labels)) / eta / len(labels)
    assert loss(p, labels) < loss(average, labels) + bound


def test_the_state_of_other_experts_is_refused() -> None:
    mixture = Mixture([1, 1, 1])
    with pytest.raises(ConfigError, match=r"it has torch.float64 \(2, 3\) where this one has theta, float64 \(2, 4\)"):
        mixture.load(Mixture([1, 1]).state())
