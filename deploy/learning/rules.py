"""When a draft is committed, and when a commit says that a candidate is due.

Owns these two decisions. Does not know how a commit or a candidate is made.
"""

import time

from learners.commits.commit import Due
from learners.commits.draft import Draft

DAY_MS = 86_400_000


class CommitRules:
    """A draft is committed after so many samples, so many seconds, or at a new day of the watermark.

    With 0 seconds it is committed as soon as nothing more is there to learn.

    A candidate is due every `every_days` days of the watermark, fractions of a day included.
    """

    def __init__(self, samples: int, seconds: float, every_days: float) -> None:
        self._samples, self._seconds, self._every_ms = samples, seconds, every_days * DAY_MS

    def full(self, draft: Draft) -> bool:
        """Return whether to commit now: at once where a sample is quarantined, and when a new day begins."""
        if draft.quarantined or not draft.samples:
            return bool(draft.quarantined)
        new_day = draft.watermark_ms // DAY_MS > draft.last.watermark_ms // DAY_MS
        return new_day or draft.learned >= self._samples or 0 < self._seconds <= time.monotonic() - draft.began_s

    def at_rest(self, draft: Draft) -> bool:
        """Return whether to commit as nothing more is there to learn now."""
        return not self._seconds and bool(draft.samples)

    def due(self, draft: Draft) -> Due | None:
        """Return why a candidate is due, if it is: the watermark has passed a whole multiple of the step since 1970."""
        before_ms, now_ms = draft.last.watermark_ms, draft.watermark_ms
        if before_ms <= 0 or now_ms // self._every_ms == before_ms // self._every_ms:
            return None
        return Due("schedule", now_ms)
