"""The promotion gate's policy: when candidates are made, how many are tested at once, and what each must prove.

Owns these numbers. Does not know the tests (`trials/`), models or samples.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from compressors.arguments import COUNT, WHOLE, Range, named, shown
from learners.evaluation.canary import ALL, Canary
from learners.evaluation.guards.guard import GuardRails, Own
from learners.evaluation.verdict import Kind
from streams.errors import ConfigError

Policy = Literal["automatic", "canary", "continuous", "approval"]
YEAR_DAYS = 364  # 52 whole weeks
CENTURY_DAYS = 36_600
DAY_MS = 86_400_000
REST = 1 / 7  # of the time between two candidates, but a day at most: two of seven lost promotions, one cost nothing
RANGES = {
    **dict.fromkeys(("alpha", "futility"), Range(0, 1, open=True)),
    **dict.fromkeys(("candidates_a_year", "other_a_year", "horizon", "trials"), COUNT),
    "every_days": Range(0, CENTURY_DAYS, open=True),
    "drift_a_year": WHOLE,
    "sync_s": Range(0, CENTURY_DAYS * 86_400, open=True),
    "margin": Range(-1, 1, open=True),
}


@named(ConfigError, ranges=RANGES)
@dataclass(frozen=True, kw_only=True)
class Promotion:
    """When candidates are made, and what each must prove before it serves.

    `every_days`: the event time between two candidates, in days. Each goes on trial a seventh of it, but a day at
        most, after it was due, so that it can be made meanwhile.
    `alpha`: at most so many false promotions are expected in a year; its `candidates_a_year` share it, and more are
        refused.
    `margin`: by which share of the champion's mean loss a candidate must be better. Negative: it may be worse by less
        than that, so that a candidate that has learned the newest samples may replace an equal champion.
    `futility`: a candidate that is better by the margin is given up early with a chance of at most this.
    `horizon`: after how many samples without proof a candidate is refused.
    `trials`: how many candidates are tested at the same time; where outcomes come after weeks, more than one must be.
    `drift_a_year`: how many more candidates there may be in a year, since the world has changed; they share that
        `alpha`, too. 0: none is made before its time.
    `other_a_year`: how many candidates of another recipe, model or lineage there may be in a year; they have an `alpha`
        of their own.

    `policy`: what is proven takes over, and what is seen to be worse goes back, "automatic"; or so, but by a share of
        requests that grows, "canary"; or both wait for a person, "approval" (`shadowstream promote`, `rollback`).
        "continuous" is "automatic", and between two promotions the shadow's average serves, without a test.
    `sync_s`: under "continuous", that average is renewed so often, in seconds of event time.
    `canary`: the steps by which that share grows, `Canary`.
    `rails`: what a candidate that is proven must not do all the same, `GuardRails`.
    `guards`: your own guard rails: functions of a `TrialReport`, each of which returns None, or why it may not serve.

    A candidate is proven when the evidence W of its test reaches (candidates_a_year + drift_a_year) / alpha against
    every champion since its test began (Ville 1939); one of another recipe when W and L reach other_a_year / alpha. The
    tests and their sources are in `learners/evaluation/trials/`.

    Raises:
        ConfigError: a number is out of its range, or a guard is no function.

    >>> policy = Promotion(every_days=1, candidates_a_year=365)
    >>> round(1 / policy.level)  # the evidence that proves: 7,540 to 1
    7540
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
    trials: int = 4
    drift_a_year: int = 12
    other_a_year: int = 4
    policy: Policy = "automatic"
    sync_s: float = 5.0
    canary: Canary = field(default_factory=Canary)
    rails: GuardRails = field(default_factory=GuardRails)
    guards: Sequence[Own] = ()

    def __post_init__(self) -> None:
        if not isinstance(self.rails, GuardRails):
            raise ConfigError(f"Promotion.rails must be GuardRails(...), got {shown(self.rails)}")
        if not isinstance(self.canary, Canary):
            raise ConfigError(f"Promotion.canary must be Canary(...), got {shown(self.canary)}")
        if not isinstance(self.guards, Sequence) or not all(map(callable, self.guards)):
            raise ConfigError(f"Promotion.guards must be a list of functions, got {shown(self.guards)}")

    @property
    def level(self) -> float:
        """The level of the test of one refreshed candidate: of all in a year that share alpha."""
        return self.alpha / self.a_year(Kind.REFRESH)

    @property
    def rest_ms(self) -> int:
        """How long after its commit a candidate goes on trial, in ms of event time: it is made beside the loop.

        >>> Promotion().rest_ms / 86_400_000  # a day of a week
        1.0
        """
        return min(DAY_MS, int(self.every_days * DAY_MS * REST))

    @property
    def sync_ms(self) -> float | None:
        """How much event time is between two averages that serve, in ms; None where none does.

        >>> Promotion().sync_ms, Promotion(policy="continuous").sync_ms
        (None, 5000.0)
        """
        return self.sync_s * 1_000 if self.policy == "continuous" else None

    def next_share(self, share: float = 0.0) -> float:
        """Return the share of requests that a version answers after this one; 0: when it is proven.

        >>> Promotion().next_share(), Promotion(policy="canary").next_share()
        (1.0, 0.01)
        """
        return self.canary.after(share) if self.policy == "canary" else ALL

    def a_year(self, kind: Kind) -> int:
        """Return how many candidates of a kind are tested in a year; they share alpha."""
        return self.candidates_a_year + self.drift_a_year if kind is Kind.REFRESH else self.other_a_year

    def log_needed(self, kind: Kind) -> float:
        """Return the natural logarithm of the evidence that proves a candidate of a kind.

        >>> from learners.evaluation.verdict import Kind
        >>> [round(Promotion().log_needed(kind), 2) for kind in Kind]
        [7.15, 4.38]
        """
        return math.log(self.a_year(kind) / self.alpha)

    @property
    def doubt(self) -> str | None:
        """What is wrong where more candidates are made in a year than share `alpha`, or before a canary is a champion.

        >>> Promotion().doubt
        >>> Promotion(every_days=1).doubt.partition(":")[0]
        'Promotion.every_days = 1 makes 364 candidates in 364 days, and Promotion.candidates_a_year = 52 share alpha'
        """
        made, most = YEAR_DAYS / self.every_days, self.candidates_a_year
        if made <= most:
            return self._slow
        return (
            f"Promotion.every_days = {self.every_days:g} makes {made:,.0f} candidates in {YEAR_DAYS} days, and "
            f"Promotion.candidates_a_year = {most} share alpha: after {most} the others of a year are refused. "
            f"Set candidates_a_year = {math.ceil(made)}"
        )

    @property
    def _slow(self) -> str | None:
        days = len(self.canary.steps) * self.canary.days
        if self.policy != "canary" or days < self.every_days:
            return None
        return (
            f"Promotion.canary has {len(self.canary.steps)} steps of up to {self.canary.days:g} days, and a new "
            f"candidate is made every {self.every_days:g}: one that is proven takes the canary's place before it is "
            f"the champion. Set Canary.days below {self.every_days / len(self.canary.steps):.3g}"
        )
