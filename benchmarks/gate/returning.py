"""Years of a champion beside the one before it: how often an equal one is taken for worse, and how soon a worse one is.

Simulated days differ at random, with a spread of 3 % of the loss; real ones are those of weekly siblings on flights.
All go through the product's own `Pair` and detectors, reign after reign, with what earlier reigns have shown of days.
"""

from collections import deque
from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np

from benchmarks.gate.differences import DAY_MS, Floats, Siblings
from learners.evaluation.watch.pair import Pair, Seen, before, spread
from learners.evaluation.watch.watch import MOST_DAYS

A_DAY, LOSS, EACH = 900, 0.48, 0.1  # predictions of flights a day, their loss, and how far single differences are apart
YEAR, REIGN = 365, 7  # days
TIMES_MS = np.arange(A_DAY) * (DAY_MS // A_DAY)
Draw = Callable[[np.random.Generator, int], Floats]


def _storms(draw: np.random.Generator, days: int) -> Floats:
    """Return Gaussian days, of which one in fifty is five times as far off."""
    return draw.normal(size=days) * np.where(draw.random(days) < 0.02, 5.0, 1.0) / np.sqrt(0.98 + 0.02 * 25)


def _following(draw: np.random.Generator, days: int) -> Floats:
    """Return Gaussian days that are correlated by 0.2 with the one before, as flights' are."""
    found = draw.normal(size=days)
    for day in range(1, days):
        found[day] = 0.2 * found[day - 1] + np.sqrt(1 - 0.2**2) * found[day]
    return found


KINDS: dict[str, Draw] = {
    "uniform": lambda draw, days: draw.uniform(-np.sqrt(3), np.sqrt(3), days),
    "Gaussian": lambda draw, days: draw.normal(size=days),
    "Gaussian, correlated by 0.2": _following,
    "Laplace": lambda draw, days: draw.laplace(size=days) / np.sqrt(2),
    "Student, 3 degrees": lambda draw, days: draw.standard_t(3, days) / np.sqrt(3),
    "one day in 50 five times as far off": _storms,
}


class Year(NamedTuple):
    """Alarms by detector in a number of years."""

    years: float
    fast: int
    daily: int

    @property
    def rate(self) -> float:
        """Alarms a year."""
        return (self.fast + self.daily) / self.years


def simulated(kind: str, share: float, years: int, seed: int = 0) -> Year:
    """Return the alarms of equal versions whose days differ by `share` of the loss."""
    draw, names = np.random.default_rng(seed), list[str]()
    for _ in range(years):
        days, seen = deque[float](maxlen=MOST_DAYS), list[Seen]()
        offs = share * LOSS * KINDS[kind](draw, YEAR)
        for start in range(0, YEAR, REIGN):
            pair = Pair("", 0, before(spread(days, LOSS), A_DAY))
            found = _reign(pair, offs[start : start + REIGN], draw)
            seen += [found] if found else []
            days.extend([] if found else pair.days)
        names += [one.detector for one in seen]
    return Year(years, names.count("fast"), names.count("daily"))


def samples(kind: str, worse: float, runs: int, seed: int = 1) -> tuple[float, float]:
    """Return after how many samples one that is worse by a share of the loss is seen: the median, and 90 %."""
    draw = np.random.default_rng(seed)
    found = [_reign(Pair("", 0, before(spread([], LOSS), A_DAY)), _days(kind, draw, worse), draw) for _ in range(runs)]
    counts = [one.samples if one else np.inf for one in found]
    return float(np.median(counts)), float(np.quantile(counts, 0.9, method="higher"))


def _days(kind: str, draw: np.random.Generator, worse: float) -> Floats:
    return LOSS * (0.03 * KINDS[kind](draw, 60) + worse)


def _reign(pair: Pair, offs: Floats, draw: np.random.Generator) -> Seen | None:
    for day, off in enumerate(offs.tolist()):
        if seen := pair.take(day * DAY_MS + TIMES_MS, draw.normal(off, EACH, A_DAY)):
            return seen
    return None


def real(feed: Siblings) -> Iterator[tuple[str, Year]]:
    """Yield alarms on flights, for champions whose predecessors are one to eight weeks older, or of another seed."""
    years = float(feed.t_ms[-1] - feed.t_ms[0]) / DAY_MS / YEAR
    weeks, loss = len(feed.begins), feed.loss
    for ago in (1, 2, 4, 8):
        pairs = [((0, week), (0, week - ago)) for week in range(ago, weeks)]
        yield f"{ago} older, until the next", _watched(feed, pairs, loss, 1, years)
    pairs = [((seed, week), (1 - seed, week)) for week in range(weeks) for seed in (0, 1)]
    reigns = sum(len(feed.t_ms) - int(feed.begins[week]) for week in range(weeks)) / len(feed.t_ms) * years
    yield "of another seed, until the year ends", _watched(feed, pairs, loss, weeks, 2 * reigns)


def real_samples(feed: Siblings, worse: float) -> tuple[float, float]:
    """Return how soon a sibling is seen that noise on its logits makes worse by a share of the loss: median, 90 %."""
    draw, counts, days = np.random.default_rng(2), list[float](), deque[float](maxlen=MOST_DAYS)
    for week in range(1, len(feed.begins)):
        at = slice(int(feed.begins[week]), int(feed.begins[week]) + 60 * A_DAY)
        noise = draw.normal(size=len(feed.t_ms[at]))
        z, y, loss = feed.logits[0, week, at].astype(np.float64), feed.labels[at], feed.loss
        before_it, low, high = feed.losses(0, week - 1, at), 0.0, 20.0
        for _ in range(15):
            middle = (low + high) / 2
            mean = float((np.logaddexp(0, z + middle * noise) - y * (z + middle * noise)).mean())
            low, high = (middle, high) if mean < before_it.mean() + worse * loss else (low, middle)
        noisy = z + high * noise
        pair = Pair("", 0, before(spread(days, loss), A_DAY))
        seen = pair.take(feed.t_ms[at], np.logaddexp(0, noisy) - y * noisy - before_it)
        honest = Pair("", 0, [])
        first = slice(at.start, at.start + REIGN * A_DAY)
        honest.take(feed.t_ms[first], feed.losses(0, week, first) - feed.losses(0, week - 1, first))
        days.extend(honest.days)
        counts.append(seen.samples if seen else np.inf)
    return float(np.median(counts)), float(np.quantile(counts, 0.9, method="higher"))


def _watched(
    feed: Siblings, pairs: list[tuple[tuple[int, int], tuple[int, int]]], loss: float, reigns: int, years: float
) -> Year:  # fmt: skip
    days, names = deque[float](maxlen=MOST_DAYS), list[str]()
    ends = [*feed.begins.tolist(), *[len(feed.t_ms)] * reigns]
    for ours, theirs in pairs:
        at = slice(int(feed.begins[ours[1]]), ends[ours[1] + reigns])
        pair = Pair("", 0, before(spread(days, loss), A_DAY))
        found = pair.take(feed.t_ms[at], feed.losses(*ours, at) - feed.losses(*theirs, at))
        names += [found.detector] if found else []
        days.extend([] if found else pair.days)
    return Year(years, names.count("fast"), names.count("daily"))
