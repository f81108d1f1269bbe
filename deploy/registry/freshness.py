"""Freshness: how long after an outcome had arrived the first prediction was made that knows it.

Owns what is kept of arrivals on their way from the learner to the server, and the histogram of their ages. Arrivals are
by the store's clock. Does not know who reads either.
"""

from collections import Counter
from collections.abc import Iterable

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

MOST = 128  # times kept of one span; neighbours share one, the earliest, so that no age comes out too small
STEPS, OCTAVES = 4, 36  # of the histogram: four buckets from 1 ms to 2 ms, and so on, up to two years
UPTO_MS = 2.0 ** (np.arange(STEPS * OCTAVES) / STEPS)


class Arrivals:
    """When outcomes arrived, and how many; at most `MOST` times, whatever the span.

    >>> arrivals = Arrivals()
    >>> arrivals.add([1_000, 1_000, 1_500, -1])
    >>> arrivals.rows()
    [(1000, 2), (1500, 1)]
    """

    def __init__(self) -> None:
        self._width_ms, self._count = 1, Counter[int]()

    def add(self, times_ms: Iterable[int]) -> None:
        """Add arrivals; those at an unknown time, −1, are not counted."""
        self._add(Counter(times_ms))

    def merge(self, other: "Arrivals") -> None:
        """Add another's arrivals."""
        self._add(other._count)

    def _add(self, arrived: Counter[int]) -> None:
        for t_ms, count in arrived.items():
            if t_ms >= 0:
                self._count[t_ms - t_ms % self._width_ms] += count
        if len(self._count) > MOST:
            self._width_ms *= 2
            before, self._count = self._count, Counter[int]()
            self._add(before)

    def rows(self) -> list[tuple[int, int]]:
        """Return times in milliseconds with their counts."""
        return sorted(self._count.items())


class Span(Struct, frozen=True, array_like=True):
    """What arrived between two commits that a candidate was due after: up to `commit`, times and counts."""

    commit: int
    rows: list[tuple[int, int]]


class ArrivalsNote(Struct, frozen=True):
    """The newest spans, oldest first."""

    spans: list[Span]

    def between(self, after: int, upto: int) -> list[tuple[int, int]]:
        """Return the rows of the spans after a commit, up to another."""
        return [row for span in self.spans if after < span.commit <= upto for row in span.rows]


class Ages(Struct, frozen=True, kw_only=True):
    """A histogram: `counts[i]` outcomes had an age of at most `upto_ms[i]` that was above the one before.

    `p50_ms` and `p99_ms`: half of all, and 99 of 100, were at most so old.
    """

    count: int
    p50_ms: float
    p99_ms: float
    upto_ms: list[float]
    counts: list[int]


class FreshNote(Struct, frozen=True, kw_only=True):
    """How old outcomes were at the first prediction that knew them, since the server began.

    `live`: by the live experts. `weights`: by the version that serves.
    """

    live: Ages | None = None
    weights: Ages | None = None


class Histogram:
    """Counts ages.

    >>> histogram = Histogram()
    >>> histogram.ages is None
    True
    >>> histogram.add([(1_000, 2), (1_500, 1)], 2_000)
    >>> (ages := histogram.ages).count, round(ages.p50_ms)
    (3, 902)
    """

    def __init__(self) -> None:
        self._counts: NDArray[np.float64] = np.zeros(len(UPTO_MS))

    def add(self, rows: Iterable[tuple[int, int]], now_ms: int) -> None:
        """Count outcomes by when they arrived, as known `now_ms`."""
        at_ms, counts = np.array(list(rows), dtype=np.int64).reshape(-1, 2).T
        buckets = np.searchsorted(UPTO_MS, now_ms - at_ms)
        np.add.at(self._counts, np.minimum(buckets, len(UPTO_MS) - 1), counts)

    @property
    def ages(self) -> Ages | None:
        """What was counted; None if nothing was."""
        there = np.flatnonzero(self._counts)
        if not len(there):
            return None
        part = slice(there[0], there[-1] + 1)
        return Ages(
            count=int(self._counts.sum()),
            p50_ms=self._quantile(0.5),
            p99_ms=self._quantile(0.99),
            upto_ms=UPTO_MS[part].round(1).tolist(),
            counts=self._counts[part].astype(int).tolist(),
        )

    def _quantile(self, share: float) -> float:
        """Return the age that this share had at most, spread evenly within a bucket."""
        reached = np.cumsum(self._counts)
        at = int(np.searchsorted(reached, share * reached[-1]))
        within = 1 - (reached[at] - share * reached[-1]) / self._counts[at]
        low = UPTO_MS[at - 1] if at else 0.0
        return round(float(low + within * (UPTO_MS[at] - low)), 1)
