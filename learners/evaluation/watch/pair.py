"""What serves beside one reference: how much worse it is, by several detectors.

A champion that is worse by much is seen within days by small blocks and a large margin, by little within weeks by days
without one; the margins are by how much two good versions differ from day to day. Owns these detectors, and the spread
of days. Does not know models or labels. Figures: `docs/learners.md`.
"""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from learners.evaluation.watch.detector import Detector

DAY_MS, YEAR_DAYS = 86_400_000, 365.25
ALPHA = 0.1  # alarms a year of each detector, of all reigns together
USUAL, FEW, MOST_DAYS = 0.03, 6, 30  # the spread of days as a share of the mean loss, before so many days were seen
FAST, MEDIUM, SLOW = "fast", "medium", "slow"


class Seen(NamedTuple):
    """What a detector has seen: which, the evidence and what is needed, logarithms, and since when, if it is so."""

    detector: str
    log_r: float
    log_needed: float
    samples: int
    gain: float
    since_ms: int


@dataclass
class Spread:
    """How far the means of days are off one another, between versions that served: the last `MOST_DAYS` days."""

    days: deque[float] = field(default_factory=lambda: deque(maxlen=MOST_DAYS))

    def of(self, loss: float) -> float:
        """Return it; a share of the mean loss while few days were seen."""
        return float(np.std(self.days)) if len(self.days) >= FEW else USUAL * abs(loss)


class Pair:
    """What serves beside the reference `key`, the version `version`.

    `sums`: how many differences there were, their sum, and when the first one was.
    """

    def __init__(self, key: str, version: int, detectors: Sequence[Detector], spread: Spread) -> None:
        self.key, self.version, self._detectors, self._spread = key, version, detectors, spread
        self._samples, self._total, self._day, self._since_ms = 0, 0.0, -1, -1
        self._today, self._today_count = 0.0, 0

    def add(self, t_ms: int, difference: float) -> Seen | None:
        """Take the next difference, loss of what serves − loss of the reference; return what is seen, once."""
        seen, day = None, t_ms // DAY_MS
        if day != self._day:
            seen = self._end_of_day()
            self._day = day
        self._samples, self._total = self._samples + 1, self._total + difference
        self._since_ms = t_ms if self._since_ms < 0 else self._since_ms
        self._today, self._today_count = self._today + difference, self._today_count + 1
        for one in self._detectors:
            if one.add(difference):
                seen = seen or self._seen(one)
        return seen

    def _end_of_day(self) -> Seen | None:
        if self._today_count:
            self._spread.days.append(self._today / self._today_count)
        self._today, self._today_count = 0.0, 0
        found = [one for one in self._detectors if not one.size and one.end()]
        return self._seen(found[0]) if found else None

    def _seen(self, one: Detector) -> Seen:
        mean = self._total / self._samples
        return Seen(one.name, one.log_r, one.log_needed, self._samples, -mean, self._since_ms)


def before(spread: float, each: float, a_day: float) -> list[Detector]:
    """Return the detectors of a champion beside the one before it: fast, medium, slow.

    `spread` is that of days, `each` that of single differences, and `a_day` how many there are.
    """
    return [
        _detector(FAST, 25, 4 * spread, each, spread, a_day),
        _detector(MEDIUM, 50, spread, each, spread, a_day),
        _detector(SLOW, 0, 0.0, each, spread, a_day),
    ]


def older(spread: float, each: float, a_day: float, count: int) -> list[Detector]:
    """Return the detector of a champion beside one of `count` old versions, which share its alarms."""
    return [_detector(MEDIUM, 50, 2 * spread, each, spread, a_day, share=count)]


def _detector(
    name: str, size: int, margin: float, each: float, spread: float, a_day: float, share: int = 1
) -> Detector:  # fmt: skip
    in_block = size or max(1.0, a_day)
    blocks = YEAR_DAYS * (a_day / size if size else 1.0)
    scale = float(np.sqrt(each**2 / in_block + spread**2 + margin**2))
    return Detector(name, size, margin, max(1.0, blocks) * share / ALPHA, scale)
