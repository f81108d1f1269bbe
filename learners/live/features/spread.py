"""What is learned of numbers: mean and spread, and the knots of their curves.

Owns μ and σ, which run over all values, from the 100th on pulled into μ ± 10 σ; and the quantiles of the first 1,000
values, which become knots. Does not know fields.
"""

from typing import NamedTuple

import numpy as np

from learners.live.compiled import Doubles, Ints, compiled

LEARNED = 1_000  # values of a number, before its knots are set
KNOTS = 15
PULLED, FROM = 10.0, 100


class Spread(NamedTuple):
    """What was learned of each number: how many values, μ and σ², the first values, and then the knots."""

    seen: Ints  # (numbers,)
    mean: Doubles  # (numbers,)
    variance: Doubles  # (numbers,)
    first: Doubles  # (numbers, LEARNED)
    knots: Doubles  # (numbers, KNOTS)


@compiled
def observe(spread: Spread, m: int, x: float) -> None:
    """Let what is known of number m follow a value."""
    n = spread.seen[m]
    if n < LEARNED:
        spread.first[m, n] = x
    mean, variance = spread.mean[m], spread.variance[m]
    if n >= FROM and variance > 0:
        reach = PULLED * np.sqrt(variance)
        x = min(max(x, mean - reach), mean + reach)
    n += 1
    spread.seen[m] = n
    spread.mean[m] = mean + (x - mean) / n
    spread.variance[m] = variance + ((x - mean) * (x - spread.mean[m]) - variance) / n
    if n == LEARNED:
        ordered = np.sort(spread.first[m])
        for k in range(KNOTS):
            spread.knots[m, k] = ordered[(k + 1) * LEARNED // (KNOTS + 1)]
