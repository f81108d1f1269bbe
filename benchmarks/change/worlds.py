"""Feeds whose world changes. Labels are drawn from a logit that a *kind* of world gives: `reversed` (the sign of all
weights turns), `linear` (each world has weights of its own), `curved` (a random network of its own).

250 samples a day, outcomes an hour later: 5,000 rows of history and eight days of the first world, then a plan:

    abrupt      another world at once
    gradual     ever more samples are of another world, over 1,000
    recurring   two worlds in turn, 1,500 samples each, four changes
    ten         ten changes to new worlds, 1,500 samples each

Owns these feeds. Does not know who learns them.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
DAY, HISTORY, CALM, WORLD, GRADUAL, FEATURES = 250, 5_000, 2_000, 1_500, 1_000, 4
SHOWN = 6  # windows of DAY samples after a change
DAY_MS, DELAY_MS, START_MS = 86_400_000, 3_600_000, 15_706 * 86_400_000
STEEP = 3.0  # the logit's spread
KINDS, PLANS = ("reversed", "linear", "curved"), ("abrupt", "gradual", "recurring", "ten")


class Feed(NamedTuple):
    """Rows x (N, features), labels y (N,), the best chances (N,), and where the world changes, after the history."""

    x: Array
    y: Array
    best: Array
    changes: list[int]


def logits(kind: str, world: int, x: Array, seed: int) -> Array:
    """Return the true logits (N,) of a world, of spread STEEP."""
    draw = np.random.default_rng([seed, world if kind != "reversed" else 0, KINDS.index(kind)])
    if kind == "curved":
        first, second = draw.normal(0, 1.2, (FEATURES, 16)), draw.normal(0, 1, 16)
        z = np.tanh(x @ first + draw.normal(0, 1, 16)) @ second
        sample = np.random.default_rng(0).normal(0, 1, (4_000, FEATURES))
        of = np.tanh(sample @ first + np.zeros(16)) @ second
        return np.asarray(STEEP * (z - of.mean()) / of.std())
    weights = draw.normal(0, 1, FEATURES)
    sign = -1.0 if kind == "reversed" and world % 2 else 1.0
    return np.asarray(sign * STEEP * (x @ weights) / np.linalg.norm(weights))


def feed(kind: str, plan: str, seed: int) -> Feed:
    """Draw a feed: the history is of world 0."""
    lengths = {"abrupt": [2], "gradual": [2], "recurring": [1] * 4, "ten": [1] * 10}[plan]
    changes = [HISTORY + CALM + WORLD * sum(lengths[:n]) for n in range(len(lengths))]
    n = changes[-1] + WORLD * lengths[-1]
    draw = np.random.default_rng([seed, 7])
    x, at = draw.normal(0, 1, (n, FEATURES)).round(4), np.arange(n)
    world = np.searchsorted(changes, at, side="right")
    if plan == "gradual":
        world = (draw.random(n) < (at - changes[0]) / GRADUAL).astype(int)
    if plan == "recurring":
        world %= 2
    z = np.choose(world, [logits(kind, k, x, seed) for k in range(world.max() + 1)])
    p = 1 / (1 + np.exp(-z))
    return Feed(x, (draw.random(n) < p).astype(float), p, changes)


def asked_ms(row: int) -> int:
    """Return when a row after the history is asked."""
    return START_MS + (row - HISTORY) * DAY_MS // DAY


def chances(logits: Array) -> Array:
    """Return chances, none surer than a served one is."""
    return np.asarray(1 / (1 + np.exp(-np.clip(logits, -9, 9))))
