"""What the rules are shown: a candidate that is as good as the champion, by its making, in several ways.

Differences are real ones of siblings on flights where a name says so; which of the two is the candidate is drawn for
each sample, so that neither is better. Owns the making. Does not know rules.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.gate.differences import DAY_MS, Floats, Siblings
from learners.tasks.binary import Binary

A_DAY = 900  # samples
PAIRS = 8  # of siblings
RARE, FIRM = 0.002, 0.0002  # what champion and candidate say of an event that almost never comes
BIAS = 0.3  # of the logits, by which a champion says too little
LATE_MS = 7 * DAY_MS
Task = Binary()


class Shown(NamedTuple):
    """N samples in the order of prediction: losses of candidate and champion, and `known_ms`, when the label comes.

    `bounds`: what the candidate may lose to the champion by any label; `reverse`: the other way round.
    """

    ours: Floats
    theirs: Floats
    bounds: Floats
    reverse: Floats
    t_ms: NDArray[np.int64]
    known_ms: NDArray[np.int64]

    @property
    def differences(self) -> Floats:
        """The champion's loss less the candidate's (N,)."""
        return self.theirs - self.ours

    def better_by(self, gain: float) -> "Shown":
        """Return the same with a candidate whose loss is lower by so much, at every sample."""
        return self._replace(ours=self.ours - gain)


Feed = Callable[[np.random.Generator, int], Shown]


def shown(ours: Floats, theirs: Floats, labels: Floats) -> Shown:
    """Return what two models' logits (N,) make of labels that are known at once, a day after `A_DAY` others."""
    a, b = (torch.from_numpy(rows)[:, None] for rows in (ours, theirs))
    y = torch.from_numpy(labels)
    one, other = (Task.losses(rows, y).numpy() for rows in (a, b))
    bounds, reverse = Task.worst_gap(a, b).numpy(), Task.worst_gap(b, a).numpy()
    t_ms = np.arange(len(labels)) * (DAY_MS // A_DAY)
    return Shown(one, other, bounds, reverse, t_ms, t_ms)


def drawn(pairs: list[Shown]) -> Feed:
    """Return a feed of samples of a pair, each drawn by itself, and by a coin which of the two is the candidate."""

    def draw(random: np.random.Generator, count: int) -> Shown:
        pair = pairs[random.integers(len(pairs))]
        at = random.integers(len(pair.ours), size=count)
        return _swapped(pair, at, random.random(count) < 0.5)

    return draw


def by_day(pairs: list[Shown]) -> Feed:
    """Return a feed of a pair's samples as they came, where a coin says for each day which of them is the candidate."""

    def draw(random: np.random.Generator, count: int) -> Shown:
        pair = pairs[random.integers(len(pairs))]
        start = random.integers(len(pair.ours) - count + 1)
        at, days = np.arange(start, start + count), np.arange(count) // A_DAY
        return _swapped(pair, at, (random.random(days[-1] + 1) < 0.5)[days])

    return draw


def _swapped(pair: Shown, at: NDArray[np.int64], swap: NDArray[np.bool_]) -> Shown:
    """Return a pair's samples, with the roles of some exchanged."""
    one, other, bounds, reverse = (rows[at] for rows in pair[:4])
    t_ms = np.arange(len(at)) * (DAY_MS // A_DAY)
    ours, theirs = np.where(swap, other, one), np.where(swap, one, other)
    return Shown(ours, theirs, np.where(swap, reverse, bounds), np.where(swap, bounds, reverse), t_ms, t_ms)


def disasters(random: np.random.Generator, count: int) -> Shown:
    """Return a candidate that gains a little almost always, and as much in the mean is lost at events that are rare."""
    usual = np.log1p(-FIRM) - np.log1p(-RARE)
    chance = usual / (usual + np.log(RARE / FIRM))
    labels = (random.random(count) < chance).astype(np.float64)
    ours, theirs = (np.full(count, np.log(p / (1 - p))) for p in (FIRM, RARE))
    return shown(ours, theirs, labels)


def delayed(feed: Siblings) -> Feed:
    """Return a candidate that says too much where the champion says too little; label 1 comes at once, 0 in a week.

    Logits are a sibling's, and labels are drawn by them. Both lose as much in the mean.
    """
    z = feed.logits[0, 0, int(feed.begins[0]) :].astype(np.float64)
    more = _as_bad(z)

    def draw(random: np.random.Generator, count: int) -> Shown:
        at = z[random.integers(len(z), size=count)]
        labels = (random.random(count) < 1 / (1 + np.exp(-at))).astype(np.float64)
        made = shown(at + more, at - BIAS, labels)
        return made._replace(known_ms=made.t_ms + np.where(labels > 0, 0, LATE_MS))

    return draw


def _as_bad(z: Floats) -> float:
    """Return what must be added to logits to lose as much by it as by taking `BIAS` from them."""
    p, low, high = 1 / (1 + np.exp(-z)), 0.0, 2 * BIAS
    for _ in range(40):
        middle = (low + high) / 2
        gap = np.mean(np.logaddexp(0, z + middle) - p * (z + middle) - np.logaddexp(0, z - BIAS) + p * (z - BIAS))
        low, high = (middle, high) if gap < 0 else (low, middle)
    return low


def pairs(feed: Siblings, *, seeds: bool) -> list[Shown]:
    """Return pairs of siblings on all flights after them: of two seeds, or of two weeks that follow each other."""
    weeks = np.linspace(1, len(feed.begins) * 2 // 5, PAIRS).astype(int).tolist()
    found = []
    for week in weeks:
        at = slice(int(feed.begins[week]), None)
        ours, theirs = feed.logits[0, week, at], feed.logits[1, week, at] if seeds else feed.logits[0, week - 1, at]
        found.append(shown(ours.astype(np.float64), theirs.astype(np.float64), feed.labels[at]))
    return found
