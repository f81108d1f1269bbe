"""Late outcomes: what each way of learning them costs, on simulated feeds whose truth is known, and on hotel bookings.

`python -m benchmarks.delay [--samples N] [--seeds N] [--data FOLDER]` prints a table, and one line of JSON. Of each
feed and way: by how many millinats its answers of days 20 to 60 are worse than the truth, and mean p over mean y. Hotel
bookings have no known truth: their log loss. Owns the simulated feeds. Does not know how a learner learns.
"""

import argparse
import json
from bisect import bisect_left
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from benchmarks.learners.feeds import DAY_MS, HOUR_MS, Missing, Stream, hotel
from benchmarks.learners.live import Constant, Events, Mixed, Table, Waiting
from benchmarks.learners.network import Deep
from benchmarks.peers.replay import replay, scores
from learners.live.news import AGES_MS
from learners.live.pool import chain_ages

DAYS, JUDGED_FROM = 60, 20
MANY = 8.0  # times as many predictions at the end of a feed that grows
BUSY = 10.0  # times as many at noon as at midnight, where there is a daily cycle
SWING_DAYS = 40  # of a base rate that drifts by one logit up and down, there and back
SHARE = 0.8

Array = NDArray[np.float64]


class Visit(msgspec.Struct):
    """What a simulated feed asks about."""

    country: str
    pages: float


class Kind(NamedTuple):
    """A simulated feed: the mean delay of labels 0 and 1 in hours, exponential, and what changes.

    `silent`: label 0 is known when so many days have passed; `by_feature`: delays grow with a feature as well.
    """

    hours: tuple[float, float]
    grows: bool = False
    drifts: bool = False
    busy: bool = False
    silent: int = 0
    by_feature: bool = False


KINDS = {
    "1 in 1 h, 0 in 10 d: growth": Kind((240, 1), grows=True),
    "1 in 1 h, 0 in 10 d: drift": Kind((240, 1), drifts=True),
    "1 in 1 h, 0 in 10 d: growth, drift, cycle": Kind((240, 1), grows=True, drifts=True, busy=True),
    "1 in 10 d, 0 in 1 h: drift": Kind((1, 240), drifts=True),
    "both in hours: drift": Kind((3, 3), drifts=True),
    "2 d and 6 d: drift": Kind((48, 144), drifts=True),
    "silence of 7 d, 1 in 12 h: growth": Kind((0, 12), grows=True, silent=7),
    "silence of 7 d, 1 in 12 h: drift": Kind((0, 12), drifts=True, silent=7),
    "delays by a feature: growth": Kind((72, 36), grows=True, by_feature=True),
}


def simulated(name: str, samples: int, seed: int) -> tuple[Stream, Array]:
    """Return a feed, and the chance of each of its labels."""
    kind, draw = KINDS[name], np.random.default_rng(seed)
    days = days_of(kind, samples, draw)
    country, pages = draw.integers(0, 12, samples), draw.normal(0, 1, samples).round(3)
    logit = -0.7 + np.linspace(-1.5, 1.5, 12)[country] + 0.8 * pages
    truth = 1 / (1 + np.exp(-logit - kind.drifts * np.sin(2 * np.pi * days / SWING_DAYS)))
    labels = draw.random(samples) < truth
    hours = draw.exponential(np.array(kind.hours)[labels.astype(int)] * np.exp(kind.by_feature * pages))
    hours = np.where(labels, hours, 24.0 * kind.silent) if kind.silent else hours
    t_ms = (days * DAY_MS).astype(np.int64)
    known = t_ms + np.minimum(hours * HOUR_MS, DAYS * DAY_MS).astype(np.int64) + 1
    rows = [Visit(str(c), p) for c, p in zip(country.tolist(), pages.tolist(), strict=True)]
    live = int(np.searchsorted(days, JUDGED_FROM))
    times, told = t_ms.tolist(), known.tolist()
    return Stream(name, rows, times, told, labels.astype(float).tolist(), live, 2 * DAYS * DAY_MS), truth


def days_of(kind: Kind, samples: int, draw: np.random.Generator) -> Array:
    """Return when predictions are asked."""
    grid = np.linspace(0, DAYS, 60 * 24 * DAYS)
    rate = MANY ** (grid / DAYS) if kind.grows else np.ones_like(grid)
    if kind.busy:
        rate *= BUSY ** ((1 - np.cos(2 * np.pi * grid)) / 2)
    return np.interp(np.sort(draw.random(samples)), np.cumsum(rate) / rate.sum(), grid)


class Held:
    """One table that learns a prediction when it has the age that 80 % of all delays do not exceed, or later."""

    def __init__(self, stream: Stream) -> None:
        self.stream, self.table = stream, Table(stream, "w4")
        delays = np.array(stream.known_ms) - np.array(stream.t_ms)
        due = np.maximum(stream.known_ms, np.array(stream.t_ms) + int(np.quantile(delays, SHARE)))
        self.order = np.argsort(due, kind="stable")
        self.due, self.at = due[self.order].tolist(), 0

    def answer(self, start: int, stop: int) -> Array:
        """Return chances, once all is learned that is due."""
        end = bisect_left(self.due, self.stream.t_ms[start])
        self.table.learn([(0, int(row), -1) for row in self.order[self.at : end]])
        self.at = max(self.at, end)
        return self.table.answer(start, stop)

    def learn(self, events: Events) -> None:
        """Take nothing before it is due."""


def _pool(stream: Stream) -> Mixed:
    """Return the live experts beside the network: evidence without a deep part is none."""
    deep = Deep(stream)
    replay(stream, deep)
    return Mixed(stream, deep.logits)


WAYS: dict[str, Callable[[Stream], Any]] = {
    "naive": Constant,
    "at once": lambda stream: Table(stream, "w4"),
    "held to k80": Held,
    "chain": Waiting,
    "pool": _pool,
}


def measured(stream: Stream, truth: Array | None) -> dict[str, tuple[float, float]]:
    """Return by way the millinats above the truth, or without one the log loss, and mean p over mean y."""
    found = {}
    for name, make in WAYS.items():
        ages = chain_ages(AGES_MS) if name in ("chain", "pool") else ()
        figures = scores(stream, replay(stream, make(stream), ages))
        loss = figures["log_loss"] if truth is None else 1_000 * (figures["log_loss"] - _least(stream, truth))
        found[name] = loss, figures["p_over_y"]
    return found


def _least(stream: Stream, truth: Array) -> float:
    y, p = np.array(stream.labels[stream.live :]), truth[stream.live :]
    return float(-np.mean(np.log(np.where(y > 0, p, 1 - p))))


def feeds(samples: int, seeds: int, data: Path | None) -> Iterator[tuple[str, dict[str, tuple[float, float]]]]:
    """Yield each feed's figures, those of simulated ones as means over seeds."""
    for name in KINDS:
        runs = [measured(*simulated(name, samples, seed)) for seed in range(seeds)]
        yield name, {way: tuple(np.mean([run[way] for run in runs], axis=0).tolist()) for way in WAYS}
    try:
        yield "hotel bookings (log loss)", measured(hotel(data), None)
    except Missing as missing:
        print(f"without hotel bookings: {missing}")


def main() -> None:
    """Measure all."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.delay", description=__doc__)
    parser.add_argument("--samples", type=int, default=20_000)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--data", type=Path)
    asked = parser.parse_args()
    print("| feed |", " | ".join(WAYS), "|\n|---|" + "---|" * len(WAYS))
    found = {}
    for name, by_way in feeds(asked.samples, asked.seeds, asked.data):
        found[name] = by_way
        digits = 4 if "log loss" in name else 1
        cells = (f"{loss:.{digits}f} ({ratio:.2f})" for loss, ratio in by_way.values())
        print(f"| {name} |", " | ".join(cells), "|", flush=True)
    print(json.dumps({"samples": asked.samples, "seeds": asked.seeds, "feeds": found}))


if __name__ == "__main__":
    main()
