"""L: days that alternate are no gain, days that agree are one, and no path depends on what comes later."""

import math

import numpy as np

from learners.evaluation.trials.lasting import lasting


def test_good_days_that_come_and_go_prove_nothing() -> None:
    rng = np.random.default_rng(0)
    false = [lasting(rng.normal(0, 0.08, 180)).max() >= math.log(20) for _ in range(400)]
    assert sum(false) <= 0.05 * 400
    assert all(lasting(np.abs(rng.normal(0, 0.08, 60))).max() >= math.log(80) for _ in range(20))


def test_a_day_is_judged_by_those_before_it() -> None:
    days = np.random.default_rng(1).normal(0.01, 0.1, 30)
    assert np.array_equal(lasting(days[:20]), lasting(days)[:20])
    assert np.array_equal(lasting(days * 1e6).round(9), lasting(days).round(9))
    assert lasting([]).tolist() == []
    assert lasting([0.0] * 5).tolist() == [0.0] * 5
