"""When a draft is committed, when a commit keeps the whole state, and when it says that a candidate is due.

Owns these three decisions. Does not know how a commit or a candidate is made.
"""

import time

from learners.commits.commit import Commit, Due
from learners.commits.draft import Draft
from learners.online.gap import Gap

DAY_MS = 86_400_000
SCHEDULE, DRIFT = "schedule", "drift"

# Between whole states: at least so many commits, and this share of all that was learned; at most so many of each. A
# restart learns again what follows the last one, and a sample that is to be forgotten what follows the one before it.
LEAST_COMMITS, SHARE, MOST_SAMPLES, MOST_COMMITS = 32, 1 / 20, 16_384, 1_024


def state_due(kept: Commit, number: int, learned: int) -> bool:
    """Return whether commit `number`, after `learned` samples, keeps its whole state; `kept` is the last that did.

    >>> from types import SimpleNamespace
    >>> [state_due(SimpleNamespace(number=10, learned=1_000), n, 2_000) for n in (41, 42)]
    [False, True]
    """
    commits, samples = number - kept.number, learned - kept.learned
    return (commits >= LEAST_COMMITS and samples >= min(MOST_SAMPLES, SHARE * learned)) or commits >= MOST_COMMITS


class CommitRules:
    """A draft is committed after so many samples, so many seconds, or at a new day of the watermark.

    With 0 seconds it is committed as soon as nothing more is there to learn.

    A candidate is due every `every_days` days of the watermark, fractions of a day included, and after a drift, at most
    `drift_a_year` times in a year of event time.
    """

    def __init__(self, samples: int, seconds: float, every_days: float, drift_a_year: int = 0) -> None:
        self._samples, self._seconds, self._every_ms = samples, seconds, every_days * DAY_MS
        self._drift_a_year = drift_a_year

    def full(self, draft: Draft) -> bool:
        """Return whether to commit now: at once where a sample is quarantined, and when a new day begins."""
        if draft.quarantined or not draft.samples:
            return bool(draft.quarantined)
        new_day = draft.watermark_ms // DAY_MS > draft.last.watermark_ms // DAY_MS
        return new_day or draft.learned >= self._samples or 0 < self._seconds <= time.monotonic() - draft.began_s

    def at_rest(self, draft: Draft) -> bool:
        """Return whether to commit as nothing more is there to learn now."""
        return not self._seconds and bool(draft.samples)

    def due(self, draft: Draft, gap: Gap | None = None) -> Due | None:
        """Return why a candidate is due, if it is: of a drift, or the watermark has passed a whole multiple of the step
        since 1970.
        """
        if gap and gap.due_ms is not None and gap.room(self._drift_a_year):
            return Due(DRIFT, draft.watermark_ms, gap.due_ms)
        before_ms, now_ms = draft.last.watermark_ms, draft.watermark_ms
        if before_ms <= 0 or now_ms // self._every_ms == before_ms // self._every_ms:
            return None
        return Due(SCHEDULE, now_ms)
