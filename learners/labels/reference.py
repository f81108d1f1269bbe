"""How far labels speak against an answer that follows the world slowly, range by range.

That answer adds a weight for each range f that a sample is in, for each of K classes (yes and no are two), to a c that
learns at once, for the days on which all is different:

    z_k = c_k + Σ_f w_{f,k}      p = softmax(z)      x = Σ_k p_k z_k − z_y      h = Σ_k p_k z_k − mean_k z_k

x is a sample's excess: its mean is 0 where p is right, h where labels come by chance, and 2 h where those of yes and no
are turned. What serves is no judge: its experts have learned a forgery before its days of doubt are over. So w is of
two to four weeks ago; what learns at once beside it, by the slope of the log loss, is `learning`. 0 is no range.

Owns the arithmetic of one pass over samples. Does not know days, doubt, or what a range is.
"""

import numpy as np

from learners.live.compiled import Bools, Doubles, Ints, compiled
from learners.tasks.task import LOGIT_FLOOR

RATE = 0.015  # of a sample's weights together; ten times as much: .02 nats worse on flights, .06 on hotel bookings
LEVEL_RATE = 0.005  # of c: half of it is a hundred samples old


@compiled
def follow(
    codes: Ints, labels: Ints, held: Bools, believed: Bools, usual: Doubles,
    learning: Doubles, weights: Doubles, level: Doubles, sums: Doubles, found: Ints,
) -> None:  # fmt: skip
    """Follow N samples: `codes` (N, F) are their ranges, `labels` (N,) their classes, −1 of one that is not judged.

    `found` (N,) becomes the range that holds each, 0: none. `sums` (M, 3) take n, x and h of each of M ranges: of a
    sample that is held only for the ranges that hold it, of one in a range that is `believed` only for that. `usual`
    (M,) is an excess that ranges are known to have: no other than the largest of a sample's is taken from its x.
    `learning` (M, K) and `level` (K,) learn what is not held; `weights` (M, K) stay.
    """
    k_all, fields = len(level), codes.shape[1]
    z, p = np.empty(k_all), np.empty(k_all)
    for i in range(len(codes)):
        quiet, known = False, 0.0
        found[i] = 0
        for f in range(fields):
            code = codes[i, f]
            quiet |= believed[code]
            known = max(known, usual[code])
            if held[code] and not found[i]:
                found[i] = code
        y = labels[i]
        if y < 0:
            continue
        _answer(codes[i], weights, level, z, p)
        expected, middle = 0.0, 0.0
        for k in range(k_all):
            expected += p[k] * z[k]
            middle += z[k] / k_all
        for f in range(fields):
            code = codes[i, f]
            if code and (held[code] if found[i] else believed[code] or not quiet):
                sums[code, 0] += 1
                sums[code, 1] += expected - z[y] - (0.0 if believed[code] else known)
                sums[code, 2] += expected - middle
        if found[i]:
            continue
        for k in range(k_all):
            level[k] += LEVEL_RATE * ((k == y) - p[k])
        _answer(codes[i], learning, np.zeros(k_all), z, p)
        for f in range(fields):
            code = codes[i, f]
            if code:
                for k in range(k_all):
                    learning[code, k] += RATE / fields * ((k == y) - p[k])


@compiled
def _answer(codes: Ints, weights: Doubles, level: Doubles, z: Doubles, p: Doubles) -> None:
    """Let z be the logits of one sample, no more than the floor below the largest, and p their chances."""
    top = -np.inf
    for k in range(len(level)):
        z[k] = level[k]
        for code in codes:
            z[k] += weights[code, k]
        top = max(top, z[k])
    total = 0.0
    for k in range(len(level)):
        z[k] = max(z[k] - top, -LOGIT_FLOOR)
        p[k] = np.exp(z[k])
        total += p[k]
    for k in range(len(level)):
        p[k] /= total
