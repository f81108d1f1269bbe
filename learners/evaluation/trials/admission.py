"""Which candidates go on trial: not one that is the champion already, nor more in a year than share the level, and of
those that run at once not all, where there are too many.

Owns these rules. Does not know samples.
"""

from collections.abc import Sequence

from learners.evaluation.gate import YEAR_DAYS, Promotion
from learners.evaluation.trials.asked import DAY_MS
from learners.evaluation.trials.trial import Trial
from learners.evaluation.verdict import Kind

YEAR_MS = YEAR_DAYS * DAY_MS


class Budget:
    """How many candidates of each kind went on trial in the last year of event time."""

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
