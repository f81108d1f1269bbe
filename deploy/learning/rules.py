"""When a draft is committed, and when a commit says that a candidate is due.

Owns these two decisions. Does not know how a commit or a candidate is made, or when its whole state is kept.
"""

import time

from learners.commits.commit import Due
from learners.commits.draft import Draft
from learners.online.gap import Gap

DAY_MS = 86_400_000
SCHEDULE, DRIFT = "schedule", "drift"


class CommitRules:
    """A draft is committed after so many samples, so many seconds, or at a new day of the watermark.

    With 0 seconds it is committed as soon as nothing more is there to learn.

    A candidate is due every `every_days` days of the watermark, fractions of a day included, and after a drift, at most
    `drift_a_year` times in a year of event time. `relearn_s` is as in the settings.
    """

    def __init__(
        self, samples: int, seconds: float, every_days: float, drift_a_year: int = 0, relearn_s: float = 5.0
    ) -> None:
        self._samples, self._seconds, self._every_ms = samples, seconds, every_days * DAY_MS
        self._drift_a_year, self.relearn_s = drift_a_year, relearn_s

    def full(self, draft: Draft, *, part: bool = False) -> bool:
        """Return whether to commit now: at once where a sample is quarantined, and when a new day begins.

        A draft that is only `part` of a replay's slice waits for the rest, as far as that is not too much.
        """
        if draft.quarantined or not draft.samples:
            return bool(draft.quarantined)
        if part or draft.learned >= self._samples:
            return draft.learned >= self._samples
        new_day = draft.watermark_ms // DAY_MS > draft.last.watermark_ms // DAY_MS
        return new_day or 0 < self._seconds <= time.monotonic() - draft.began_s

    @property
    def paced(self) -> bool:
        """Whether it may be a replay that says what is committed together."""
        return not self._seconds

    def at_rest(self, draft: Draft) -> bool:
        """Return whether to commit as nothing more is there to learn now."""
        return self.paced and bool(draft.samples)

    def due(self, draft: Draft, gap: Gap | None = None) -> Due | None:
        """Return why a candidate is due, if it is: of a drift, or the watermark has passed a whole multiple of the step
        since 1970. None is due of marks alone: it is made of samples.
        """
        if not draft.last.learned + draft.learned:
            return None
        if gap and gap.due_ms is not None and gap.room(self._drift_a_year):
            return Due(DRIFT, draft.watermark_ms, gap.due_ms)
        before_ms, now_ms = draft.last.watermark_ms, draft.watermark_ms
        if before_ms <= 0 or now_ms // self._every_ms == before_ms // self._every_ms:
            return None
        return Due(SCHEDULE, now_ms)
