"""A table of one weight a slot that learns a request's items from pairs: gaussian.py's `w4`, of what two differ by.

Of each pair i, j with relevances y_i > y_j ≥ 0, with d = x_i − x_j and the formulas of gaussian.py, without a constant,
which no order needs:

    p = σ(w·d/√(1 + π s²/8))    s² = Σ v x_i² + Σ v x_j²    h = max(p(1 − p), 1e-4) u    g = (1 − p) u/(1 + h s²)

What both have in common moves nothing. The n pairs of m items that were seen weigh u = min(1, (m − 1)/n): an order of m
has so many places to be wrong, as one click has pairs. Owns this table. Does not know what a feature is.
"""

import numpy as np

from learners.live.compiled import Doubles, Floats, compiled
from learners.live.features.hashing import Hashed
from learners.live.tables.gaussian import CROSSES, FORGETTING, LEAST, SOFTENS, Gaussian, prior


@compiled
def learn_pairs(hashed: Hashed, relevances: Doubles, weights: Doubles, mean: Floats, precision: Floats) -> None:
    """Let the table learn the pairs of one request's items; a weight of 0 skips an item."""
    slots, values, ends = hashed
    items = len(relevances)
    z, known, v0 = np.zeros(items), np.empty(ends[items - 1, 2]), np.ones((items, 3))
    pairs = seen = 0
    for i in range(items):
        start = ends[i - 1, 2] if i else 0
        v0[i, 0] = prior(values, start, ends[i, 0], 1.0)
        v0[i, 2] = prior(values, ends[i, 1], ends[i, 2], CROSSES)
        seen += int(weights[i] > 0 and relevances[i] >= 0)
        for j in range(items):
            pairs += int(_beats(relevances, weights, i, j))
    for i in range(items):
        for j in range(items):
            if not _beats(relevances, weights, i, j):
                continue
            spread = 0.0
            for side in (i, j):
                k, z[side] = ends[side - 1, 2] if side else 0, 0.0
                for kind in range(3):
                    while k < ends[side, kind]:
                        x, now = np.float64(values[k]), np.float64(precision[slots[k]])
                        known[k] = v = min(v0[side, kind], 1 / now) if now > 0 else v0[side, kind]
                        z[side] += mean[slots[k]] * x
                        spread += v * x * x
                        k += 1
            u = weights[i] * min(1.0, (seen - 1) / pairs)
            p = 1 / (1 + np.exp(-(z[i] - z[j]) / np.sqrt(1 + SOFTENS * spread)))
            h = max(p * (1 - p), LEAST) * u
            g = (1 - p) * u / (1 + h * spread)
            for side in (i, j):
                k, step = ends[side - 1, 2] if side else 0, g if side == i else -g
                for kind in range(3):
                    while k < ends[side, kind]:
                        x, v = np.float64(values[k]), known[k]
                        mean[slots[k]] += np.float32(v * x * step)
                        precision[slots[k]] = np.float32((1 - FORGETTING) / v + FORGETTING / v0[side, kind] + h * x * x)
                        k += 1


@compiled
def _beats(relevances: Doubles, weights: Doubles, i: int, j: int) -> bool:
    return bool(weights[i] > 0 and weights[j] > 0 and relevances[i] > relevances[j] and relevances[j] >= 0)


class Pairs(Gaussian):
    """A table of 2^`bits` slots, which forgets: `w4`. Its answers are scores."""

    def learn(self, hashed: Hashed, labels: Doubles, weights: Doubles) -> None:
        """Learn the relevances of one request's items; a weight of 0, or a relevance below 0, skips an item."""
        if len(labels):
            learn_pairs(hashed, labels, weights, self.mean[:, 0], self.precision[:, 0])
