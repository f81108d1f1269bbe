"""L: evidence that a gain lasts, from the means of whole days.

Differences depend on the day: where good and bad days alternate at random, W takes a run of good days for a gain. L
bets on days instead, one each, and so needs weeks. Owns the bets. Does not know samples.
"""

from collections.abc import Sequence

import numpy as np

from learners.evaluation.trials.wealth import Floats

STAKES = 0.99 * 2.0 ** -np.arange(6)
SKIPPED = 2  # days that only say how large differences are


def lasting(days: Sequence[float] | Floats) -> Floats:
    """Return log L after each day; `days` are the means of d − m, in order.

    With s the root mean square of all earlier days and u = tanh(x / s), player j's log G_j grows by log(1 + λ_j u),
    λ_j = 0.99 · 2^−j; L is the mean of the G_j. Where days are symmetric about at most 0, L ever reaches 1/α with a
    chance of at most α. The first two days are not bet on.

    >>> lasting([0.1] * 12).round(1).tolist()[-4:]  # as much on every day
    [2.4, 2.9, 3.4, 3.9]
    >>> bool(lasting([0.1, -0.1] * 30).max() < 1)  # on half of them as much less
    True
    """
    x = np.asarray(days, dtype=np.float64)
    before = np.sqrt(np.cumsum(x**2) / np.arange(1, len(x) + 1))
    size = np.concatenate([[0.0], before])[: len(x)]
    with np.errstate(divide="ignore", invalid="ignore"):
        u = np.tanh(np.where(x == 0, 0.0, x / size))
    u[:SKIPPED] = 0.0
    logs = np.cumsum(np.log1p(STAKES * u[:, None]), axis=0)
    path: Floats = np.logaddexp.reduce(logs, axis=1) - np.log(len(STAKES))
    return path
