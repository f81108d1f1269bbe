"""What serves beside one reference: how much worse it is, by two detectors.

A champion that is much worse is seen within hours, by blocks of 100 predictions; what is less, by days. The margins are
in how much two good versions differ from day to day. Owns these detectors. Does not know models or labels. Measured by
`benchmarks/gate`.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from msgspec import Struct

from learners.evaluation.trials.asked import DAY_MS, Ints
from learners.evaluation.trials.interval import Sums
from learners.evaluation.trials.wealth import Floats
from learners.evaluation.watch.detector import EVERY, Detector
from learners.resumed import Resumed

YEAR_DAYS = 365.25
ALPHA = 0.1  # alarms a year of each detector, of all reigns together
USUAL, PRIOR_DAYS = 0.03, 10  # days are off 0 by this share of the mean loss, as if so many days had shown it
WIDE = 1.5  # so many times what days have shown: few have, and bad days come together
FAST, FAST_SIZE, FAST_MARGIN = "fast", 100, 10.0
DAILY, OLD_MARGIN = "daily", 2.0


class Seen(NamedTuple):
    """What a detector has seen: which, the evidence and what is needed, logarithms, and since when, if it is so."""

    detector: str
    log_r: float
    log_needed: float
    samples: int
    gain: float
    since_ms: int


class PairState(Struct):
    """What was seen beside a reference."""

    version: int
    _detectors: list[Detector]
    _days: list[Sums]
    _all: Sums
    _today: Sums
    _day: int
    _since_ms: int


class Pair(Resumed):
    """What serves beside the reference `key`, the version `version`."""

    State = PairState

    def __init__(self, key: str, version: int, detectors: Sequence[Detector]) -> None:
        self.key, self.version, self._days = key, version, list[Sums]()
        self._detectors, self._all, self._today = detectors, Sums(), Sums()
        self._day, self._since_ms = -1, -1

    @property
    def days(self) -> list[float]:
        """How far whole days were off their mean, squared, less what chance alone brings: what is usual."""
        if len(self._days) < 2:
            return []
        mean, more = float(np.mean([day.mean for day in self._days])), len(self._days) / (len(self._days) - 1)
        return [max(0.0, more * (day.mean - mean) ** 2 - day.spread**2 / day.samples) for day in self._days]

    @property
    def sums(self) -> Sums:
        """The differences so far."""
        return self._all

    def take(self, t_ms: Ints, differences: Floats) -> Seen | None:
        """Take the next differences (n,), loss of what serves − loss of the reference; return what is seen, once."""
        days = t_ms // DAY_MS
        for day in np.unique(days).tolist():
            seen = None
            if day != self._day:
                seen, self._day = self._end_of_day(), day
            at = np.flatnonzero(days == day)
            self._since_ms = int(t_ms[at[0]]) if self._since_ms < 0 else self._since_ms
            if seen := seen or self._take(differences[at]):
                return seen
        return None

    def _take(self, differences: Floats) -> Seen | None:
        alarms = [(at, one) for one in self._detectors if (at := one.take(differences)) is not None]
        if alarms:
            at, first = min(alarms, key=lambda alarm: alarm[0])
            self._add(differences[:at])
            return self._seen(first)
        self._add(differences)
        return None

    def _add(self, differences: Floats) -> None:
        sums = Sums(len(differences), float(differences.sum()), float((differences**2).sum()))
        self._all, self._today = self._all.plus(sums), self._today.plus(sums)

    def _end_of_day(self) -> Seen | None:
        today, self._today = self._today, Sums()
        if today.samples >= EVERY:
            self._days.append(today)
        found = [one for one in self._detectors if not one.size and one.end()]
        return self._seen(found[0]) if found else None

    def _seen(self, one: Detector) -> Seen:
        return Seen(one.name, one.log_r, one.log_needed, self._all.samples, -self._all.mean, self._since_ms)


def spread(days: Sequence[float], loss: float) -> float:
    """Return by how much good versions' days are off 0: `USUAL` of the mean loss before any was seen.

    `days` are those of `Pair.days`, of the reigns before.

    >>> spread([], 0.5)
    0.0225
    """
    squares = PRIOR_DAYS * (USUAL * loss) ** 2 + sum(days)
    return WIDE * math.sqrt(squares / (PRIOR_DAYS + len(days)))


def before(spread: float, a_day: float) -> list[Detector]:
    """Return the detectors of a champion beside the one before it, where there are `a_day` predictions a day."""
    blocks = YEAR_DAYS * a_day / FAST_SIZE
    return [
        Detector(FAST, FAST_SIZE, FAST_MARGIN * spread, spread, max(1.0, blocks) / ALPHA),
        Detector(DAILY, 0, 0.0, spread, YEAR_DAYS / ALPHA),
    ]


def older(spread: float, count: int) -> list[Detector]:
    """Return the detector of a champion beside one of `count` old versions, which share its alarms."""
    return [Detector(DAILY, 0, OLD_MARGIN * spread, spread, YEAR_DAYS * count / ALPHA)]
