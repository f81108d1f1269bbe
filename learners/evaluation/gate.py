"""The promotion gate: a sequential test that stays valid however often it is looked at, so after every sample.

Owns the policy, and the test of one candidate. Does not know models, samples or versions: it is given differences of
losses in prediction order. The claim that is tested: over the samples compared, the candidate's mean loss is lower than
the champion's by more than the margin. Sources: Choe & Ramdas, arXiv 2110.00115; Mineiro, arXiv 2210.11133; Ville 1939.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from compressors.arguments import COUNT, Range, named
from learners.evaluation.verdict import Decision
from streams.errors import ConfigError

Floats = NDArray[np.float64]
BETS = 0.9 * 2.0 ** -np.arange(10)  # shares that are staked; they never rise, and so the test holds under drift


YEAR_DAYS, CENTURY_DAYS = 365.25, 36_600
ABOUT = 1.1  # 52 candidates a year are a little more than one a week
RANGES = {
    **dict.fromkeys(("alpha", "futility"), Range(0, 1, open=True)),
    **dict.fromkeys(("candidates_a_year", "horizon"), COUNT),
    "every_days": Range(0, CENTURY_DAYS, open=True),
    "margin": Range(-1, 1, open=True),
}


@named(ConfigError, ranges=RANGES)
@dataclass(frozen=True, kw_only=True)
class Promotion:
    """When candidates are made, and what each must prove before it serves.

    `every_days`: the event time between two candidates, in days.
    `alpha`: at most so many false promotions are expected in a year, if there are `candidates_a_year`, which share it.
    `margin`: by which share of the champion's mean loss a candidate must be better. Negative: it may be worse by less
        than that, so that a candidate that has learned the newest samples may replace an equal champion.
    `futility`: a candidate that is better by the margin is given up early with a chance of at most this.
    `horizon`: after how many samples without proof a candidate is refused.

    A candidate is proven when the evidence W of its test reaches candidates_a_year / alpha (Ville 1939). The test and
    its sources are in `learners/evaluation/gate.py`.

    Raises:
        ConfigError: a number is out of its range.

    >>> policy = Promotion(every_days=1, candidates_a_year=365)
    >>> round(1 / policy.level)  # the evidence that proves: 7,300 to 1
    7300
    >>> Promotion(alpha=1.5)
    Traceback (most recent call last):
    streams.errors.ConfigError: Promotion.alpha must be above 0 and below 1, got 1.5
    """

    every_days: float = 7.0
    alpha: float = 0.05
    candidates_a_year: int = 52
    margin: float = -0.005
    futility: float = 0.05
    horizon: int = 40_000

    @property
    def level(self) -> float:
        """The level of one candidate's test: alpha / candidates_a_year."""
        return self.alpha / self.candidates_a_year

    @property
    def doubt(self) -> str | None:
        """What is wrong where more candidates are made in a year than share `alpha`.

        >>> Promotion().doubt
        >>> Promotion(every_days=1).doubt.partition(":")[0]
        'Promotion.every_days = 1 makes 365 candidates a year, and Promotion.candidates_a_year = 52 share alpha'
        """
        made = YEAR_DAYS / self.every_days
        if made <= ABOUT * self.candidates_a_year:
            return None
        return (
            f"Promotion.every_days = {self.every_days:g} makes {made:,.0f} candidates a year, and "
            f"Promotion.candidates_a_year = {self.candidates_a_year} share alpha: up to {made * self.level:.2g} false "
            f"promotions a year are expected, not {self.alpha:g}. Set candidates_a_year = {made:.0f}"
        )


class Wealth:
    """The evidence W for one direction: what ten players own on average, each of whom began with 1 and always bets.

    A sample gains g = d − m: its difference of losses d less the margin m. Player j stakes the share λ_j = 0.9 · 2^−j
    of what it owns: log G_j ← log G_j + log(1 + λ_j g / B), where B is the largest bound so far. W is the mean of the
    G_j. If the mean of the expected gains is never above 0, W ever reaches 1/α with a chance of at most α (Ville 1939).
    """

    def __init__(self, bound: float) -> None:
        self._bound = max(bound, 1e-6)
        self._logs = np.zeros(len(BETS))

    def path(self, gains: Floats, bounds: Floats) -> Floats:
        """Bet on the next gains g (n,), each at least minus its bound (n,); return log W after each (n,)."""
        running = np.maximum.accumulate(np.maximum(bounds, self._bound))
        logs = self._logs + np.cumsum(np.log1p(BETS * (gains / running)[:, None]), axis=0)
        self._bound, self._logs = float(running[-1]), logs[-1]
        top = logs.max(axis=1)
        path: Floats = top + np.log(np.exp(logs - top[:, None]).mean(axis=1))
        return path


class Gate:
    """The test of one candidate.

    It is proven when the evidence W that it gains more than the margin reaches 1 / level, and futile when the evidence
    for the opposite reaches 1 / futility. `samples` were compared so far; `gain` is their mean of loss(champion) −
    loss(candidate), in the unit of the task's loss like the `margin`; `log_wealth` is log W, a natural logarithm.
    """

    def __init__(self, policy: Promotion, margin: float, bound: float, reverse_bound: float) -> None:
        """`bound` is the largest loss(candidate) − loss(champion) that is expected before any label is known.

        `reverse_bound` is the same with the roles swapped. Both grow when a sample's own bound is larger.
        """
        self._policy, self.margin = policy, margin
        self._for, self._against = Wealth(bound + max(margin, 0)), Wealth(reverse_bound + max(-margin, 0))
        self.decision, self.samples, self.log_wealth, self.gain = Decision.RUNNING, 0, 0.0, 0.0

    @property
    def log_needed(self) -> float:
        """The log W that proves: log(1 / level)."""
        return float(-np.log(self._policy.level))

    def update(self, differences: Floats, bounds: Floats, reverse_bounds: Floats) -> Decision:
        """Take the next n samples in prediction order; those after the one that decides do not count.

        Args:
            differences: d = loss(champion) − loss(candidate), shape (n,).
            bounds: b of each sample, known before its label, shape (n,): d ≥ −b.
            reverse_bounds: the same with the roles swapped, shape (n,): d ≤ reverse b.
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
