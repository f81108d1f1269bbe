"""The pool of live experts over any log: however it is cut, and in whatever order news came within an age, equal bits;
and no label, weight or logit makes anything that is not finite.
"""

import math
from itertools import pairwise

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from learners.live.held import Told
from learners.live.mixtures.mixture import Mixture
from learners.live.news import AGES_MS, DAY_MS
from tests.unit.learners.live.test_pool import HOUR_MS, assert_same, feed, log, pool

EARLY, LATE = feed(150, 3 * HOUR_MS), feed(200, 2 * DAY_MS)
GROUPS = LATE._replace(x=np.repeat(LATE.x[::4], 4), at_once=4)  # four equal rows at a time
EVENTS = [list(log(pool()[0], given)) for given in (EARLY, LATE, GROUPS)]
hostile = st.floats() | st.sampled_from([0.0, -0.0, 9.0, -9.0, 1e300, -1e300, math.inf, -math.inf, math.nan])


@settings(max_examples=10, deadline=None)
@given(st.sampled_from(EVENTS), st.data())
def test_however_the_log_is_cut_the_state_is_the_same(events: list[Told], data: st.DataObject) -> None:
    cuts = sorted({0, len(events), *data.draw(st.lists(st.integers(0, len(events)), max_size=8))})
    whole, _, _ = pool()
    whole.learn(events)
    parts, _, _ = pool()
    for start, stop in pairwise(cuts):
        parts.learn(events[start:stop])
        if data.draw(st.booleans()):
            saved, (parts, _, _) = parts.state(), pool()
            parts.load(saved)
    assert_same(whole, parts)


@settings(max_examples=10, deadline=None)
@given(st.sampled_from([0, 1]), st.randoms(use_true_random=False))
def test_the_order_of_arrival_within_an_age_changes_no_mixture(which: int, random: object) -> None:
    """Outcomes come at any other time in the same age: nothing that waits for k80 may tell."""
    given_feed = (EARLY, LATE)[which]
    ages = (0, *AGES_MS)

    def moved(delay_ms: int) -> int:
        age = next(n for n, age_ms in enumerate(ages) if age_ms >= delay_ms)
        return random.randint(ages[age - 1] + 1, ages[age]) if age else 0  # type: ignore[attr-defined]

    other = given_feed._replace(delays_ms=[moved(delay) for delay in given_feed.delays_ms])
    ours, theirs = pool()[0], pool()[0]
    ours.learn(EVENTS[which])
    theirs.learn(list(log(pool()[0], other)))
    last = next(event for event in EVENTS[which] if isinstance(event, Told))
    last = last._replace(at_ms=ours.news.ages_ms[-1] * 3, label=math.nan)
    for live in (ours, theirs):
        live.learn([last])  # all that was held is due
    for name in ("mixture.theta", "mixture.variance", "mixture.weights"):
        assert ours.state()[name].numpy().tobytes() == theirs.state()[name].numpy().tobytes()


@settings(max_examples=50, deadline=None)
@given(
    st.lists(st.tuples(hostile, hostile, hostile, hostile), min_size=1, max_size=30),
    st.sampled_from([1.0, 0.05]),
    st.sampled_from([None, 0, 1]),
)
def test_no_value_makes_a_mixture_that_is_not_finite(
    samples: list[tuple[float, float, float, float]], eta: float, alone: int | None
) -> None:
    logits, labels, weights = np.array(samples)[:, :2], np.array(samples)[:, 2], np.array(samples)[:, 3]
    mixture = Mixture([1, 3], eta=eta, alone=alone)
    for y in (labels, (labels > 0).astype(float)):
        mixture.learn(logits, y, np.abs(weights))
        assert all(np.isfinite(part).all() for part in (mixture.theta, mixture.variance, mixture.weights))
        p = mixture.answer(logits)
        assert ((p >= 0) & (p <= 1)).all()
        assert np.allclose(mixture.variance, np.swapaxes(mixture.variance, 1, 2), rtol=1e-9, atol=1e-12)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(0, 200), max_size=6), st.integers(0, 2**32 - 1))
def test_a_cut_changes_no_bit_of_a_mixture(cuts: list[int], seed: int) -> None:
    draw = np.random.default_rng(seed)
    logits, labels = draw.normal(0, 3, (200, 3)), (draw.random(200) < 0.5).astype(float)
    whole, parts = Mixture([1, 1, 2], alone=2), Mixture([1, 1, 2], alone=2)
    whole.learn(logits, labels, np.ones(200))
    for start, stop in pairwise(sorted({0, 200, *cuts})):
        parts.learn(logits[start:stop], labels[start:stop], np.ones(stop - start))
    assert whole.theta.tobytes() == parts.theta.tobytes()
    each = np.concatenate([parts.answer(logits[n : n + 1]) for n in range(200)])
    assert each.tobytes() == whole.answer(logits).tobytes()
