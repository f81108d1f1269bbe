"""How often each rule promotes a candidate that is no better, and after how many samples one that is."""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from benchmarks.gate import feeds, rules
from benchmarks.gate.differences import Siblings
from benchmarks.gate.feeds import A_DAY, Feed
from benchmarks.gate.rules import Rule

ALPHA = 0.05
HORIZON, DAYS_OF_OTHER = 40_000, 180  # as in the gate: samples of a refresh, days of another recipe
GAINS = (0.01, 0.005, 0.002)  # of the loss
STATED = {"two seeds": (1_300, 4_600, 37_000), "two weeks": (100, 400, 2_300)}  # samples to a proof by W: the design's
OTHERS: dict[str, Rule] = {
    "t-test": rules.t_test,
    "mSPRT": rules.msprt,
    "empirical Bernstein": rules.bernstein,
    "VW": rules.vowpal_wabbit,
}
OURS: dict[str, Rule] = {"W": rules.window, "L": rules.lasts}
BOTH = "W and L"


class Case(NamedTuple):
    """A feed of so many samples, by which rules it is judged, and which of them claim their level there."""

    feed: Feed
    samples: int
    rules: Mapping[str, Rule]
    claims: tuple[str, ...]


def cases(feed: Siblings) -> dict[str, Case]:
    """Return all kinds of equal candidates."""
    seeds, weeks = (feeds.pairs(feed, seeds=one) for one in (True, False))
    early = {name: rules.on_arrival(rule) for name, rule in (OTHERS | {"W": rules.window}).items()}
    late = feeds.delayed(feed)
    return {
        "two seeds, roles drawn a sample": Case(feeds.drawn(seeds), HORIZON, OTHERS | OURS, ("W", BOTH)),
        "two weeks, roles drawn a sample": Case(feeds.drawn(weeks), HORIZON, OTHERS | OURS, ("W", BOTH)),
        "rare disasters": Case(feeds.disasters, HORIZON, OTHERS | OURS, ("W", BOTH)),
        "two seeds, roles drawn a day": Case(
            feeds.by_day(seeds), DAYS_OF_OTHER * A_DAY, OTHERS | OURS, (BOTH,)
        ),
        "label 0 after a week: in order of arrival": Case(late, 20 * A_DAY, early, ()),
        "label 0 after a week: in order of prediction": Case(
            late, 20 * A_DAY, OTHERS | {"W": rules.worst_labels}, ("W",)
        ),
    }  # fmt: skip


def promoted(case: Case, runs: int) -> dict[str, float]:
    """Return in which share of runs each rule promotes, and where there are both, W and L together."""
    random, found = np.random.default_rng(0), {name: np.zeros(runs, dtype=np.bool_) for name in case.rules}
    for run in range(runs):
        shown = case.feed(random, case.samples)
        for name, rule in case.rules.items():
            found[name][run] = rule(shown, ALPHA) is not None
    if "L" in found:
        found[BOTH] = found["W"] & found["L"]
    return {name: float(promoted.mean()) for name, promoted in found.items()}


def needed(feed: Siblings, kind: str, gain: float, runs: int) -> dict[str, float]:
    """Return after how many samples each rule promotes a candidate that is better by a share of the loss: medians."""
    random, draw = np.random.default_rng(1), feeds.drawn(feeds.pairs(feed, seeds=kind == "two seeds"))
    samples, loss = int(4 * STATED[kind][GAINS.index(gain)]), feed.loss
    shown = [draw(random, max(samples, HORIZON)).better_by(gain * loss) for _ in range(runs)]
    judged = OTHERS | {"W": rules.window}
    return {
        name: float(np.median([np.inf if (at := rule(one, ALPHA)) is None else at for one in shown]))
        for name, rule in judged.items()
    }
