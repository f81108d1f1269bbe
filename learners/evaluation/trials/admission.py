"""Which candidates go on trial: not more in a year than share the level, and of those that run at once not all, where
there are too many. And whether, as a feed is, any can be proven.

Owns these rules, and their words. Does not know files.
"""

import math
from collections.abc import Sequence

import numpy as np
from msgspec import Struct

from learners.evaluation.gate import YEAR_DAYS, Promotion
from learners.evaluation.trials.asked import DAY_MS
from learners.evaluation.trials.timing import Timing
from learners.evaluation.trials.trial import MOST_DAYS, Trial
from learners.evaluation.verdict import Kind
from learners.resumed import Resumed
from streams.events import Sample

YEAR_MS = YEAR_DAYS * DAY_MS
LEAST = 1_000  # samples that a test needs to be likely to prove anything
TESTED_DAYS = 2  # that a test takes once outcomes are there
KNOWN = 0.98  # share of outcomes that have come when they are called there


class BudgetState(Struct):
    """When the candidates of each kind went on trial."""

    _begun_ms: dict[Kind, list[int]]


class Budget(Resumed):
    """How many candidates of each kind went on trial in the last year of event time."""

    State = BudgetState

    def __init__(self, policy: Promotion) -> None:
        self._policy = policy
        self._begun_ms: dict[Kind, list[int]] = {kind: [] for kind in Kind}

    def spend(self, kind: Kind, now_ms: int) -> int | None:
        """Take one of a kind; if a year's are spent, return when the next one may come, and take none."""
        begun = self._begun_ms[kind] = [at_ms for at_ms in self._begun_ms[kind] if at_ms > now_ms - YEAR_MS]
        if len(begun) >= self._policy.a_year(kind):
            return begun[-self._policy.a_year(kind)] + YEAR_MS
        begun.append(now_ms)
        return None


def crowded_out(trials: Sequence[Trial]) -> Trial:
    """Return which of several trials makes room: the youngest without a sample, else the one with the least evidence.

    Where outcomes come after weeks, the oldest is the next to have some: it is never dropped for its youth's sake.
    """
    without = [trial for trial in trials if not trial.samples]
    return without[-1] if without else min(trials, key=lambda trial: trial.least.log_wealth)


def doubt(policy: Promotion, timing: Timing, newest: Sequence[Sample]) -> str | None:
    """Return why, at the pace of the newest samples, few candidates or none can be proven; None if they can."""
    days = max(1, max(one.t for one in newest) - min(one.t for one in newest)) / DAY_MS
    samples = MOST_DAYS[Kind.REFRESH] * len(newest) / days
    if samples < LEAST:
        return (
            f"a candidate is tested for at most {MOST_DAYS[Kind.REFRESH]} days, by {samples:.0f} samples at "
            f"{len(newest) / days:.1f} a day: fewer than {LEAST:,} seldom prove anything, and few promotions, or none, "
            "are to be expected"
        )
    late_ms = timing.late_ms
    if late_ms is None:
        late_ms = int(np.quantile([one.label_t - one.t for one in newest], KNOWN))
    tested = late_ms / DAY_MS + TESTED_DAYS
    if tested <= policy.trials * policy.every_days:
        return None
    made = min(YEAR_DAYS / policy.every_days, policy.candidates_a_year)
    return (
        f"a candidate is decided about {tested:.0f} days after it is made, a new one is made every "
        f"{policy.every_days:g} days, and Promotion.trials = {policy.trials} are tested at once: of {made:.0f} a year "
        f"about {YEAR_DAYS / tested * policy.trials:.0f} will be decided. Set Promotion.trials = "
        f"{math.ceil(tested / policy.every_days)}, or every_days = {math.ceil(tested / policy.trials)}"
    )
