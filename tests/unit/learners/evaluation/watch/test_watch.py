"""A champion that is worse than the one before is seen, at any delay, and not because labels are missing.

Models answer ±z at a small point, as in the tests of trials; all intercepts stay 0.
"""

import math
from collections.abc import Sequence
from random import Random

import msgspec
import numpy as np
import pytest

from learners.evaluation.evaluate import Evaluator
from learners.evaluation.trials.asked import DAY_MS
from learners.evaluation.trials.timing import Timing
from learners.evaluation.trials.trials import Reign
from learners.evaluation.verdict import Guard
from learners.evaluation.watch.pair import Seen
from learners.evaluation.watch.watch import Sighting
from learners.online.batches import Encoder
from learners.tasks.binary import Binary
from streams.events import WAITING, Sample
from streams.join.policy import JoinPolicy
from tests import small
from tests.unit.learners.evaluation.trials.test_trials import POLICY, Scaled, World

A_DAY = 400
SHARES = {"first": 0.6, "good": 1.0, "bad": -0.2, "as good": 1.0, "constant": 0.0, "broken": math.nan}


class Reigns(World):
    """A world in which versions are crowned; `seen` is what was seen of them."""

    def __init__(self, join: JoinPolicy) -> None:
        super().__init__(join)
        first = Reign(0, "first", Scaled(SHARES["first"]), -1)
        self.judge = Evaluator(
            Binary(), Encoder(small.Point, small.encode), POLICY, 0.0, Timing.of(join), first, self.made.get,
            model_of=lambda version: Scaled(SHARES[self.made[version]]),
        )  # fmt: skip
        self.seen = list[Sighting]()

    def take(self, entries: Sequence[Sample], now_ms: int) -> None:
        super().take(entries, now_ms)
        self.seen += self.judge.sightings

    def crown(self, key: str, *, bar: bool = False) -> None:
        number = len(self.made)
        self.made[number] = key
        self.end(self.judge.crown(Reign(number, key, Scaled(SHARES[key]), -1), (0.0,), bar=bar))


def play(
    reigns: dict[int, str], days: int, join: JoinPolicy, delay_days: float = 0.1, told: float = 1.0, seed: int = 0
) -> Reigns:
    """Play so many days, in which versions begin on days; outcomes come so late, and of a share alone."""
    world, random, version, entries = Reigns(join), Random(seed), 0, list[Sample]()
    numbers = {day: n for n, day in enumerate(sorted(reigns), 1)}
    for i, one in enumerate(small.samples(days * A_DAY)):
        t_ms = small.START_MS + i * (DAY_MS // A_DAY)
        day = i // A_DAY
        version = max((n for begun, n in numbers.items() if begun <= day), default=0)
        share = SHARES[reigns[sorted(reigns)[version - 1]]] if version else SHARES["first"]
        x = msgspec.json.decode(one.prediction.features)["x"]
        asked = msgspec.structs.replace(
            one.prediction, t=t_ms, learned=0, version=version, output=(share * 2 * (x[0] - x[1]),)
        )
        told_at = t_ms + round(delay_days * DAY_MS)
        sample = msgspec.structs.replace(one, t=t_ms, prediction=asked, label_t=told_at)
        if delay_days > 1:
            entries.append(msgspec.structs.replace(sample, kind=WAITING, label=0.0, label_t=t_ms + DAY_MS))
        if random.random() < told:
            entries.append(sample)
    entries.sort(key=lambda entry: entry.label_t)
    part, begun = list[Sample](), 0
    for n, entry in enumerate(entries):
        day = (entry.label_t - small.START_MS) // DAY_MS
        for of in sorted(reigns)[begun:]:
            if day >= of:
                world.take(part, entry.label_t)
                world.crown(reigns[of])
                part, begun = [], begun + 1
        part.append(entry)
        if n == len(entries) - 1 or (random.random() < 0.05 and entries[n + 1].label_t > entry.label_t):
            world.take(part, entry.label_t)
            part = []
    return world


def of(world: Reigns, version: int) -> list[Sighting]:
    return [one for one in world.seen if one.champion == version]


EARLY, LATE = JoinPolicy(window_s=86_400 / 2), JoinPolicy(window_s=40 * 86_400)


@pytest.mark.parametrize(("join", "delay_days"), [(EARLY, 0.1), (LATE, 10.0)], ids=["hours", "ten days"])
def test_a_bad_version_is_seen_and_by_which_it_should_be_replaced(join: JoinPolicy, delay_days: float) -> None:
    world = play({3: "good", 6: "bad"}, 22 if delay_days > 1 else 14, join, delay_days)
    assert not of(world, 1)
    seen = [one for one in of(world, 2) if not one.old]
    assert seen
    first = seen[0]
    assert isinstance(first.seen, Seen)
    assert (first.reference, first.seen.gain < 0) == (1, True)
    assert first.seen.samples <= 1_500


def test_an_equal_or_better_version_is_left_alone() -> None:
    assert not play({3: "good", 6: "as good"}, 30, EARLY).seen


def test_no_alarm_follows_from_labels_that_are_missing() -> None:
    """A bad version of which no outcome is heard, or one in twenty, looks like a good one: it is not known."""
    assert not play({3: "good", 6: "bad"}, 14, LATE, 10.0, told=0.0).seen
    world = play({3: "good", 6: "as good"}, 20, LATE, 10.0, told=0.05)
    assert not world.seen


def test_what_is_seen_does_not_depend_on_how_the_log_is_cut() -> None:
    found = [play({3: "good", 6: "bad"}, 12, EARLY, seed=seed).seen for seed in range(3)]
    told = [
        [
            (one.champion, one.reference, one.old, isinstance(one.seen, Seen) and one.seen.samples, one.at_ms)
            for one in seen
        ]
        for seen in found
    ]
    assert told[0] == told[1] == told[2] != []


def test_one_that_is_barred_is_no_reference_any_more() -> None:
    world = Reigns(EARLY)
    world.take(
        [msgspec.structs.replace(one, t=small.START_MS, label_t=small.START_MS) for one in small.samples(10)],
        small.START_MS,
    )
    world.crown("good")
    world.crown("bad")
    assert {*world.judge.watch.models} == {"good", "first"}
    world.crown("good", bar=True)
    assert {*world.judge.watch.models} == {"first"}
    assert np.isfinite(world.judge.measured.totals()["deep"].loss)


def test_a_candidate_on_trial_is_compared_with_a_crowned_version_from_its_first_answers_on() -> None:
    """Predictions of later days may be in the log already: that version has answered none of them."""
    world = Reigns(EARLY)
    days = [
        [
            msgspec.structs.replace(
                one, t=at, label_t=at, prediction=msgspec.structs.replace(one.prediction, t=at, learned=0)
            )
            for n, one in enumerate(small.samples(A_DAY, start=day * A_DAY))
            if (at := small.START_MS + day * DAY_MS + n * (DAY_MS // A_DAY))
        ]
        for day in range(12)
    ]
    world.take(days[0], days[0][-1].t)
    world.start(0, SHARES["good"])
    world.take(days[1] + days[2] + days[3], days[1][-1].t)  # the watermark lags
    world.crown("as good")
    for day in days[4:]:
        world.take(day, day[-1].t)
    (trial,) = world.judge.trials.all
    assert [pair.version for pair in trial.pairs] == [0, 1]
    assert all(np.isfinite([pair.log_wealth, pair.log_against, pair.sums.mean]).all() for pair in trial.pairs)
    assert trial.pairs[1].sums.samples > 0


@pytest.mark.parametrize(("key", "rail"), [("constant", "constant"), ("broken", "finite"), ("bad", ""), ("good", "")])
def test_a_version_that_breaks_a_guard_rail_is_seen_at_once(key: str, rail: str) -> None:
    world = play({3: "as good"}, 5, EARLY)
    world.judge.sightings = []
    world.crown(key)
    assert [one.seen.name for one in world.judge.sightings if isinstance(one.seen, Guard)] == [rail] * bool(rail)
    for one in world.judge.sightings:
        assert (one.champion, one.reference, one.old) == (2, 1, False)
        assert msgspec.json.decode(msgspec.json.encode(one.seen), type=Guard) == one.seen


def test_what_is_watched_forgets_the_intercepts_that_no_prediction_carries_any_more(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("learners.evaluation.evaluate.KEPT", 500)
    watched = play({2: "good", 4: "as good"}, 12, EARLY).judge.watch._contestants
    assert watched
    assert all(A_DAY < len(one._path) <= 500 + A_DAY for one in watched.values()), "a day is a commit"
