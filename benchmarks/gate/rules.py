"""When each rule promotes: ours, by the product's own functions, and four others that are looked at after each sample.

All are asked for one-sided evidence at the level α that the candidate's mean loss is lower than the champion's. Owns
the others. Does not know where samples come from.
"""

from collections.abc import Callable
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from benchmarks.gate.differences import DAY_MS, Floats
from benchmarks.gate.feeds import Shown
from learners.evaluation.trials.lasting import lasting
from learners.evaluation.trials.pair import Compared, Pair
from learners.evaluation.trials.wealth import Wealth

FEWEST = 100  # samples before a rule that assumes large numbers is looked at
MIXED = 0.005  # nats: the spread of gains that mSPRT expects, 1 % of flights' loss
RANGE = 5.3  # nats: differences and losses lie within it
RECENT = 500  # samples whose bounds are known before
Rule = Callable[[Shown, float], int | None]


def first(promotes: NDArray[np.bool_]) -> int | None:
    """Return after how many samples a rule first promotes."""
    at = int(promotes.argmax())
    return at + 1 if promotes[at] else None


def moments(x: Floats) -> tuple[NDArray[np.int64], Floats, Floats]:
    """Return counts, means and variances after each sample."""
    n = np.arange(1, len(x) + 1)
    mean = np.cumsum(x) / n
    return n, mean, np.maximum(np.cumsum(x**2) / n - mean**2, 1e-18)


def t_test(shown: Shown, alpha: float) -> int | None:
    """Student's test, repeated."""
    n, mean, variance = moments(shown.differences)
    return first((n >= FEWEST) & (mean > NormalDist().inv_cdf(1 - alpha) * np.sqrt(variance / n)))


def msprt(shown: Shown, alpha: float) -> int | None:
    """The mixture sequential probability ratio test with the variance so far (Johari et al., arXiv 1512.04922)."""
    n, mean, variance = moments(shown.differences)
    wide = variance + n * MIXED**2
    log_ratio = 0.5 * np.log(variance / wide) + (n * MIXED * mean) ** 2 / (2 * variance * wide)
    return first((n >= FEWEST) & (mean > 0) & (log_ratio >= np.log(1 / alpha)))


def _bets(x: Floats, alpha: float) -> tuple[Floats, Floats]:
    """Return for x in [0, 1] predictable bets λ, and the sums Σ v ψ(λ), of the empirical Bernstein sequence.

    Waudby-Smith & Ramdas, arXiv 2010.09686, theorem 2.
    """
    n = np.arange(1, len(x) + 1)
    means = (0.5 + np.cumsum(x)) / (n + 1)
    variances = (0.25 + np.cumsum((x - means) ** 2)) / (n + 1)
    mean, variance = (np.concatenate([[begun], rows[:-1]]) for begun, rows in ((0.5, means), (0.25, variances)))
    bets = np.minimum(0.5, np.sqrt(2 * np.log(1 / alpha) / (variance * n * np.log1p(n))))
    return bets, np.cumsum((x - mean) ** 2 * (-np.log1p(-bets) - bets))


def bernstein(shown: Shown, alpha: float) -> int | None:
    """The empirical Bernstein sequence of differences within ±`RANGE`."""
    x = (shown.differences / RANGE + 1) / 2
    bets, penalty = _bets(x, alpha)
    return first(np.cumsum(bets * (x - 0.5)) - penalty >= np.log(1 / alpha))


def vowpal_wabbit(shown: Shown, alpha: float) -> int | None:
    """Its `epsilon_decay`: the candidate's lower bound is above the champion's upper one, each from its own rewards.

    The bounds are those of empirical Bernstein sequences here, at α / 2 each.
    """
    bounds = []
    for losses, sign in ((shown.ours, 1), (shown.theirs, -1)):
        x = 1 - np.clip(losses / RANGE, 0, 1)
        bets, penalty = _bets(x, alpha / 2)
        bounds.append((np.cumsum(bets * x) - sign * (penalty + np.log(2 / alpha))) / np.cumsum(bets))
    return first(bounds[0] > bounds[1])


def window(shown: Shown, alpha: float) -> int | None:
    """W, looked at after each sample."""
    wealth = Wealth(float(shown.bounds[:RECENT].max()))
    return first(wealth.path(shown.differences, shown.bounds) >= np.log(1 / alpha))


def lasts(shown: Shown, alpha: float) -> int | None:
    """L, looked at after each day."""
    days = shown.t_ms // DAY_MS
    ends = np.flatnonzero(np.diff(days, append=-1))
    means = np.add.reduceat(shown.differences, np.concatenate([[0], ends[:-1] + 1])) / np.bincount(days)
    day = first(lasting(means) >= np.log(1 / alpha))
    return None if day is None else int(ends[day - 1]) + 1


def worst_labels(shown: Shown, alpha: float) -> int | None:
    """W in the order of prediction, labels that wait at their worst, looked at each day and after each sample."""
    pair, settled = Pair("", 0, 0, 0.0, float(shown.bounds[:RECENT].max()), float(shown.reverse[:RECENT].max())), 0
    last = int(shown.known_ms.max()) // DAY_MS + 1
    for day in range(1, last + 1):
        stop = int(np.searchsorted(shown.t_ms, day * DAY_MS))
        at = slice(settled, stop)
        known = shown.known_ms[at] <= day * DAY_MS
        waits = np.flatnonzero(~known)
        done = int(waits[0]) if len(waits) else len(known)
        every = np.arange(len(known))
        none = np.zeros(len(known), dtype=np.bool_)
        differences = np.where(known, shown.differences[at], np.nan)
        seen = Compared(
            shown.t_ms[at], differences, shown.bounds[at], shown.reverse[at], known, none, done, every
        )  # fmt: skip
        pair.look(seen, np.log(1 / alpha))
        if pair.proven_day is not None:
            return stop
        settled += done
    return None


def on_arrival(rule: Rule) -> Rule:
    """Return a rule that takes samples as their labels come."""

    def promotes(shown: Shown, alpha: float) -> int | None:
        order = np.argsort(shown.known_ms, kind="stable")
        return rule(Shown._make(rows[order] for rows in shown), alpha)

    return promotes
