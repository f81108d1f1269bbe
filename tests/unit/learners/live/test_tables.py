"""The formulas of the two tables, in plain Python."""

import math

import numpy as np
import pytest

from learners.live.features.hashing import Hashed
from learners.live.tables.adaptive import FIRST, RATE, Adaptive, moved
from learners.live.tables.gaussian import CONSTANT, CROSSES, FORGETTING, LEAST, Gaussian

BITS = 8
Row = tuple[list[tuple[int, float]], list[tuple[int, float]], list[tuple[int, float]]]
ROWS: list[Row] = [
    ([(1, 1.0), (2, -0.5)], [], [(9, 1.0)]),
    ([(1, 1.0), (3, 2.0)], [(7, 0.6), (8, 0.8)], [(9, 1.0), (10, -3.0)]),
    ([], [], []),
    ([(1, 0.25), (2, 5.0)], [(7, 1.0)], [(11, 1.0)]),
] * 5
LABELS = np.array([1.0, 0.0, 1.0, 1.0] * 5)
WEIGHTS = np.array([1.0, 2.0, 0.5, 0.0, 1.0] * 4)


def hashed(rows: list[Row], scale: float = 1.0) -> Hashed:
    flat = [feature for row in rows for part in row for feature in part]
    ends = np.cumsum([len(part) for row in rows for part in row]).reshape(-1, 3)
    slots, values = ([feature[k] for feature in flat] for k in (0, 1))
    return Hashed(np.array(slots, np.uint32), np.array(values, np.float32) * np.float32(scale), ends)


def test_gaussian_weights_are_those_of_the_formulas() -> None:
    table = Gaussian(BITS)
    table.learn(hashed(ROWS), LABELS, WEIGHTS)
    mean, precision = dict.fromkeys(range(-1, 12), 0.0), dict.fromkeys(range(-1, 12), 0.0)
    for row, y, u in zip(ROWS, LABELS, WEIGHTS, strict=True):
        if not u:
            continue
        totals = [1.0, None, CROSSES]
        squares = [max(1.0, sum(x * x for _, x in part)) for part in row]
        priors = [1.0 if total is None else total / square for total, square in zip(totals, squares, strict=True)]
        features = [(-1, 1.0, CONSTANT)]
        features += [(at, x, prior) for part, prior in zip(row, priors, strict=True) for at, x in part]
        v = {at: min(prior, 1 / precision[at]) if precision[at] else prior for at, _, prior in features}
        z = sum(mean[at] * x for at, x, _ in features)
        variance = sum(v[at] * x * x for at, x, _ in features)
        p = 1 / (1 + math.exp(-z / math.sqrt(1 + math.pi * variance / 8)))
        h = max(p * (1 - p), LEAST) * u
        g = (y - p) * u / (1 + h * variance)
        for at, x, prior in features:
            mean[at] += v[at] * x * g
            precision[at] = (1 - FORGETTING) / v[at] + FORGETTING / prior + h * x * x
    assert table.constant[0] == pytest.approx([mean[-1], precision[-1]])
    assert table.mean[:12, 0] == pytest.approx([mean[at] for at in range(12)], abs=1e-5)
    assert table.precision[:12, 0] == pytest.approx([precision[at] for at in range(12)], rel=1e-5)
    answers = [mean[-1] + sum(mean[at] * x for part in row for at, x in part) for row in ROWS]
    assert table.answer(hashed(ROWS)) == pytest.approx(answers, abs=1e-5)


def test_adaptive_steps_are_those_of_the_formulas() -> None:
    table = Adaptive(BITS)
    table.learn(hashed(ROWS), LABELS, WEIGHTS)
    w, squares, most = dict.fromkeys(range(-1, 12), 0.0), dict.fromkeys(range(-1, 12), 0.0), {-1: 1.0}
    t = total = 0.0
    for row, y, u in zip(ROWS, LABELS, WEIGHTS, strict=True):
        if not u:
            continue
        features = [(-1, 1.0), *(feature for part in row for feature in part)]
        for at, x in features:
            if abs(x) > most.get(at, 0):
                w[at], most[at] = w[at] * most.get(at, 0) / abs(x), abs(x)
        z = sum(w[at] * x for at, x in features)
        t, total = t + 1, total + sum((x / most[at]) ** 2 for at, x in features)
        g = 1 / (1 + math.exp(-z)) - y
        for at, x in features:
            squares[at] += g * g * x * x * u
        size = {at: math.sqrt(squares[at] + FIRST * most[at] ** 2) * most[at] for at, _ in features}
        rate = RATE * math.sqrt(t / total)
        q = rate * sum(x * x / size[at] for at, x in features)
        far = moved(z, q * u) if y == 1 else -moved(-z, q * u)
        for at, x in features:
            w[at] += far / q * rate * x / size[at]
    assert table.constant == pytest.approx([w[-1], squares[-1], 1.0])
    assert table.table[:12, 0] == pytest.approx([w[at] for at in range(12)], abs=1e-5)
    answers = [w[-1] + sum(w[at] * x for part in row for at, x in part) for row in ROWS]
    assert table.answer(hashed(ROWS)) == pytest.approx(answers, abs=1e-5)


@pytest.mark.parametrize("margin", [-50.0, -5.0, 0.0, 3.0, 40.0])
@pytest.mark.parametrize("time", [1e-9, 0.1, 1.0, 100.0, 1e6])
def test_a_margin_moves_as_the_flow_of_the_log_loss_does(margin: float, time: float) -> None:
    end = margin + moved(margin, time)
    assert end + math.exp(end) == pytest.approx(margin + math.exp(margin) + time)
    halfway = moved(margin, time / 2)
    assert moved(margin, time) == pytest.approx(halfway + moved(margin + halfway, time / 2), rel=1e-6, abs=1e-12)


def test_adaptive_steps_do_not_know_a_feature_s_scale() -> None:
    tables = [Adaptive(BITS), Adaptive(BITS)]
    for table, scale in zip(tables, (1.0, 2.0**-20), strict=True):
        table.learn(hashed(ROWS, scale), LABELS, WEIGHTS)
    assert tables[0].answer(hashed(ROWS)) == pytest.approx(tables[1].answer(hashed(ROWS, 2.0**-20)), abs=1e-5)


@pytest.mark.parametrize("kind", [Gaussian, Adaptive])
@pytest.mark.parametrize("label", [0.0, 1.0])
def test_a_label_that_never_changes_stays_finite(kind: type[Gaussian] | type[Adaptive], label: float) -> None:
    table, rows = kind(BITS), hashed(ROWS[:1])
    for _ in range(20_000):
        table.learn(rows, np.array([label]), np.ones(1))
    [z] = table.answer(rows)
    assert 5 < (z if label else -z) < 15
