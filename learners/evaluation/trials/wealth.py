"""W: evidence for one direction of a difference of losses, valid however often it is looked at.

Owns the bets. Does not know candidates, or which samples count. Sources: Choe & Ramdas, arXiv 2110.00115; Mineiro,
arXiv 2210.11133; Ville 1939.
"""

import copy
from typing import TypeAlias

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from learners.resumed import Resumed

Floats: TypeAlias = NDArray[np.float64]
BETS = 0.9 * 2.0 ** -np.arange(10)  # shares that are staked; they never rise, and so the test holds under drift


class WealthState(Struct):
    """What the players own, by the largest bound so far."""

    _bound: float
    _logs: NDArray[np.float64]


class Wealth(Resumed):
    """What ten players own on average, each of whom began with 1 and always bets.

    A sample gains g = d − m: its difference of losses d less the margin m. Player j stakes the share λ_j = 0.9 · 2^−j
    of what it owns: log G_j ← log G_j + log(1 + λ_j g / B), where B is the largest bound so far. W is the mean of the
    G_j. If the mean of the expected gains is never above 0, W ever reaches 1/α with a chance of at most α (Ville 1939).
    """

    State = WealthState

    def __init__(self, bound: float) -> None:
        self._bound = max(bound, 1e-6)
        self._logs = np.zeros(len(BETS))

    def path(self, gains: Floats, bounds: Floats) -> Floats:
        """Bet on the next gains g (n,), each at least minus its bound (n,); return log W after each (n,).

        However the samples are cut into calls, the bits are the same.
        """
        if not len(gains):
            return np.empty(0)
        running = np.maximum.accumulate(np.maximum(bounds, self._bound))
        steps = np.log1p(BETS * (gains / running)[:, None])
        logs = np.cumsum(np.concatenate([self._logs[None], steps]), axis=0)[1:]
        self._bound, self._logs = float(running[-1]), logs[-1].copy()
        top = logs.max(axis=1)
        path: Floats = top + np.log(np.exp(logs - top[:, None]).mean(axis=1))
        return path

    def ahead(self, gains: Floats, bounds: Floats) -> Floats:
        """Return what `path` would return, and stay as it is."""
        return copy.copy(self).path(gains, bounds)
