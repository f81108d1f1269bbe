"""A candidate against one champion: both directions' evidence, over predictions in their order.

Labels that are not there count at their worst: for the candidate in the one direction, for the champion in the other.
So at every look, and after every prediction, the evidence is at most that of all labels, and what is proven by it is
proven by them: any number of looks, at any delay, cost no level. A prediction that will never have a label is left out,
but its bound, which was known before, stays. Owns both tests. Does not know models, or what follows.
"""

from typing import NamedTuple

import numpy as np
from msgspec import Struct

from learners.evaluation.trials.asked import DAY_MS, Bools, Ints
from learners.evaluation.trials.interval import Sums
from learners.evaluation.trials.lasting import lasting
from learners.evaluation.trials.wealth import Floats, Wealth, WealthState
from learners.resumed import Resumed


class Compared(NamedTuple):
    """N predictions in their order.

    `differences` (N,): loss(champion) − loss(candidate) where `known`. `bounds` (N,): what the candidate can lose to
    the champion by any label, at least 0; `reverse`: the same with the roles swapped. `gone`: it will never have a
    label. The first `settled` are known or gone. `ends`: the indices of the days' last predictions.
    """

    t_ms: Ints
    differences: Floats
    bounds: Floats
    reverse: Floats
    known: Bools
    gone: Bools
    settled: int
    ends: Ints


class PairState(Struct):
    """What a pair has come to."""

    against: str
    version: int
    from_ms: int
    margin: float
    _for: WealthState
    _against: WealthState
    _sums: Sums
    _day: tuple[int, Sums]
    _days: list[float]
    sums: Sums
    waiting: int
    settled_ms: int
    log_wealth: float
    log_against: float
    log_lasting: float
    proven_day: int | None
    lasting_day: int | None


class Pair(Resumed):
    """The test against the champion `against`, the version `version`, with predictions from a time on.

    `log_wealth` is the most log W at the end of a day, by what is known, and `log_against` that of the opposite claim;
    `waiting` of the predictions have no label yet. `proven_day` is the day since 1970 at whose end W has reached what
    proves, None before; `lasting_day` the same of L.
    """

    State = PairState

    def __init__(self, against: str, version: int, from_ms: int, margin: float, bound: float, reverse: float) -> None:
        """`bound` is the largest that is expected before any label is known, `reverse` with the roles swapped."""
        self.against, self.version, self.from_ms, self.margin = against, version, from_ms, margin
        self._for, self._against = Wealth(bound + max(margin, 0)), Wealth(reverse + max(-margin, 0))
        self._sums, self._day, self._days = Sums(), (-1, Sums()), list[float]()
        self.sums, self.waiting, self.settled_ms = Sums(), 0, from_ms
        self.log_wealth = self.log_against = self.log_lasting = 0.0
        self.proven_day: int | None = None
        self.lasting_day: int | None = None

    @classmethod
    def of(cls, state: PairState) -> "Pair":
        """Return a pair that goes on from a state."""
        made = cls(state.against, state.version, state.from_ms, state.margin, 0.0, 0.0)
        made.restore(state)
        return made

    def look(self, seen: Compared, log_needed: float) -> None:
        """Take what is known by now; the predictions that are settled are given no second time."""
        margin, bounds = self.margin, seen.bounds + max(self.margin, 0)
        reverse = seen.reverse + max(-margin, 0)
        gains = _gains(seen, seen.differences - margin, -seen.bounds - margin)
        losses = _gains(seen, margin - seen.differences, margin - seen.reverse)
        wealth = _path(self._for, gains, bounds, seen.settled)
        against = _path(self._against, losses, reverse, seen.settled)
        ends = seen.ends[seen.t_ms[seen.ends] // DAY_MS > (self.from_ms - 1) // DAY_MS]
        if len(ends):
            self.log_wealth, self.log_against = float(wealth[ends].max()), float(against[ends].max())
        proven = ends[wealth[ends] >= log_needed]
        if self.proven_day is None and len(proven):
            self.proven_day = int(seen.t_ms[proven[0]]) // DAY_MS
        self._count(seen)
        self.log_lasting = float(lasting(self._days).max(initial=0.0))
        if self.lasting_day is None and self.log_lasting >= log_needed:
            self.lasting_day = self.settled_ms // DAY_MS - 1

    def _count(self, seen: Compared) -> None:
        tail = slice(seen.settled, None)
        known = np.flatnonzero(seen.known[: seen.settled])
        for day in np.unique(seen.t_ms[known] // DAY_MS).tolist():
            self._add(day, _sums(seen.differences[known][seen.t_ms[known] // DAY_MS == day]))
        self.sums = self._sums.plus(_sums(seen.differences[tail][seen.known[tail]]))
        self.waiting = int((~(seen.known | seen.gone)).sum())
        waits = seen.settled < len(seen.t_ms)
        self.settled_ms = int(seen.t_ms[seen.settled]) if waits else max(self.settled_ms, _end(seen))
        if self._day[1].samples and self._day[0] < self.settled_ms // DAY_MS:
            self._days.append(self._day[1].mean - self.margin)
            self._day = (-1, Sums())

    def _add(self, day: int, sums: Sums) -> None:
        if self._day[1].samples and self._day[0] != day:
            self._days.append(self._day[1].mean - self.margin)
            self._day = (-1, Sums())
        self._day = (day, self._day[1].plus(sums))
        self._sums = self._sums.plus(sums)


def _path(wealth: Wealth, gains: Floats, bounds: Floats, settled: int) -> Floats:
    """Return log W after each prediction; only those that are settled stay bet."""
    ahead = gains[settled:], bounds[settled:]
    return np.concatenate([wealth.path(gains[:settled], bounds[:settled]), wealth.ahead(*ahead)])


def _gains(seen: Compared, told: Floats, worst: Floats) -> Floats:
    """Return what each prediction gains; one that waits at most nothing, since it may never have a label."""
    gains: Floats = np.where(seen.known, told, np.where(seen.gone, 0.0, np.minimum(worst, 0.0)))
    return gains


def _sums(differences: Floats) -> Sums:
    return Sums(len(differences), float(differences.sum()), float((differences**2).sum()))


def _end(seen: Compared) -> int:
    """Return the end of the last day."""
    return (int(seen.t_ms[-1]) // DAY_MS + 1) * DAY_MS if len(seen.t_ms) else 0
