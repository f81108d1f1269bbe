"""The promotion gate: an always-valid sequential test that may be looked at after every sample.

Owns the policy and the test W (window claim) of one candidate. Does not know models, samples or versions: it is fed
loss differences in prediction order. Sources: Choe & Ramdas, arXiv 2110.00115; Mineiro, arXiv 2210.11133; Ville 1939.
"""

from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
BETS = 0.9 * 2.0 ** -np.arange(10)  # the mixture's bets; they never rise, which is what makes W valid under drift


@dataclass(frozen=True, kw_only=True)
class Promotion:
    """When candidates are made, and what each must prove before it serves.

    `every_days`: the event time between two candidates, in days.
    `alpha`: the expected number of false promotions a year, at most; `candidates_a_year` share it.
    `margin`: by which share of the champion's mean loss a candidate must be better. Negative: it may be worse by less
        than that, so that a candidate that has learned the newest samples may replace an equal champion.
    `futility`: the chance, at most, that a candidate which is good enough is given up early.
    `horizon`: after how many samples without proof a candidate is refused.

    A candidate is proven when its test's evidence W reaches candidates_a_year / alpha (Ville 1939): `learners/
    evaluation/gate.py` has the test and its sources.

    Raises:
        ValueError: a number is out of its range.

    >>> policy = Promotion(every_days=1, candidates_a_year=365)
    >>> round(1 / policy.level)  # the evidence that proves: 7,300 to 1
    7300
    >>> Promotion(alpha=1.5)
    Traceback (most recent call last):
    ValueError: Promotion: alpha and futility lie between 0 and 1, got 1.5, 0.05
    """

    every_days: float = 7.0
    alpha: float = 0.05
    candidates_a_year: int = 52
    margin: float = -0.005
    futility: float = 0.05
    horizon: int = 40_000

    def __post_init__(self) -> None:
        if not 0 < self.alpha < 1 or not 0 < self.futility < 1:
            raise ValueError(f"Promotion: alpha and futility lie between 0 and 1, got {self.alpha}, {self.futility}")
        if self.every_days <= 0 or self.candidates_a_year < 1 or self.horizon < 1:
            raise ValueError("Promotion: every_days, candidates_a_year and horizon must be positive")

    @property
    def level(self) -> float:
        """The level of one candidate's test: alpha / candidates_a_year."""
        return self.alpha / self.candidates_a_year


class Decision(StrEnum):
    """Where a candidate stands."""

    RUNNING = "running"
    PROVEN = "proven"
    FUTILE = "futile"
    NOT_PROVEN = "not proven"
    SUPERSEDED = "superseded"


class Wealth:
    """log W of one direction: G_j += log(1 + 0.9·2^-j (d - m) / B), B the running bound, W = mean_j exp G_j."""

    def __init__(self, bound: float) -> None:
        self._bound = max(bound, 1e-6)
        self._logs = np.zeros(len(BETS))

    def path(self, gains: Floats, bounds: Floats) -> Floats:
        """Bet on `gains` = d - m (n,), each at least minus its bound b + max(m, 0) (n,); returns log W after each."""
        running = np.maximum.accumulate(np.maximum(bounds, self._bound))
        logs = self._logs + np.cumsum(np.log1p(BETS * (gains / running)[:, None]), axis=0)
        self._bound, self._logs = float(running[-1]), logs[-1]
        top = logs.max(axis=1)
        path: Floats = top + np.log(np.exp(logs - top[:, None]).mean(axis=1))
        return path


class Gate:
    """Test W of one candidate: proven when W ≥ 1/α_k; the role-swapped process at `futility` stops for futility."""

    def __init__(self, policy: Promotion, margin: float, bound: float, reverse_bound: float) -> None:
        """`margin` m in loss units; `bound`, `reverse_bound`: B_0 of each direction from unlabelled predictions."""
        self._policy, self.margin = policy, margin
        self._for, self._against = Wealth(bound + max(margin, 0)), Wealth(reverse_bound + max(-margin, 0))
        self.decision, self.samples, self.log_wealth, self.gain = Decision.RUNNING, 0, 0.0, 0.0

    @property
    def log_needed(self) -> float:
        """The log W that proves: log 1/α_k."""
        return float(-np.log(self._policy.level))

    def update(self, differences: Floats, bounds: Floats, reverse_bounds: Floats) -> Decision:
        """Take the next samples in prediction order; what comes after the deciding one is not looked at.

        Args:
            differences: d = loss(champion) - loss(candidate), shape (n,).
            bounds: b of each sample, known before its label: d ≥ -b.
            reverse_bounds: the same with the roles swapped: d ≤ reverse b.
        """
        if self.decision is not Decision.RUNNING or not len(differences):
            return self.decision
        gains = differences - self.margin
        wealth = self._for.path(gains, bounds + max(self.margin, 0))
        against = self._against.path(-gains, reverse_bounds + max(-self.margin, 0))
        proven = wealth >= self.log_needed
        futile = against >= -np.log(self._policy.futility)
        spent = np.arange(self.samples + 1, self.samples + len(gains) + 1) >= self._policy.horizon
        stops = np.flatnonzero(proven | futile | spent)
        last = int(stops[0]) if len(stops) else len(gains) - 1
        if len(stops):
            self.decision = (
                Decision.PROVEN if proven[last] else Decision.FUTILE if futile[last] else Decision.NOT_PROVEN
            )
        total = self.gain * self.samples + float(differences[: last + 1].sum())
        self.samples += last + 1
        self.gain, self.log_wealth = total / self.samples, float(wealth[last])
        return self.decision
