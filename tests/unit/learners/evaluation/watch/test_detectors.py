"""What the detectors see, how fast, and that chance alone gives no alarm."""

import numpy as np
import pytest

from learners.evaluation.watch.detector import Detector
from learners.evaluation.watch.pair import DAY_MS, FAST, MEDIUM, Pair, Seen, Spread, before, older

A_DAY, LOSS = 900, 0.48  # predictions of flights a day, and their loss
SPREAD, EACH = 0.03 * LOSS, 0.1


def first(worse: float, days: int, seed: int, sd: float = SPREAD) -> Seen | None:
    """Return what is first seen of a champion whose loss is higher by so much, in so many days."""
    rng = np.random.default_rng(seed)
    pair = Pair("before", 3, before(SPREAD, EACH, A_DAY), Spread())
    for day in range(days):
        of = worse + sd * rng.uniform(-np.sqrt(3), np.sqrt(3)) + rng.normal(0, EACH, A_DAY)
        for n, difference in enumerate(of.tolist()):
            if seen := pair.add(day * DAY_MS + n * DAY_MS // A_DAY, difference):
                return seen
    return None


def test_equal_versions_give_no_alarm_in_a_year() -> None:
    assert [first(0.0, 120, seed) for seed in range(3)] == [None] * 3


def test_a_better_champion_gives_no_alarm() -> None:
    assert first(-0.05, 60, 0) is None


@pytest.mark.parametrize(("share", "samples"), [(1.0, 1_000), (0.5, 1_200), (0.2, 2_000)])
def test_one_that_is_worse_is_seen_soon(share: float, samples: int) -> None:
    found = [first(share * LOSS, 30, seed) for seed in range(8)]
    counts = sorted(seen.samples for seen in found if seen)
    assert len(counts) == 8
    assert counts[3] <= samples
    assert {seen.detector for seen in found if seen} <= {FAST, MEDIUM}
    assert all(seen.gain < 0 and seen.log_r >= seen.log_needed for seen in found if seen)


def test_a_little_worse_is_seen_within_weeks() -> None:
    found = [first(0.08 * LOSS, 60, seed) for seed in range(2)]
    assert all(seen is not None and seen.samples < 40 * A_DAY for seen in found)


def test_an_old_version_comes_back_by_a_clear_gain_alone() -> None:
    for worse, comes in ((SPREAD, False), (4 * SPREAD, True)):
        rng, pair = np.random.default_rng(0), Pair("first", 0, older(SPREAD, EACH, A_DAY, 4), Spread())
        seen = [pair.add(n * 96_000, worse + rng.normal(0, EACH)) for n in range(60 * A_DAY)]
        assert any(seen) is comes


def test_identical_models_give_no_alarm() -> None:
    pair = Pair("before", 3, before(0.0, 0.0, A_DAY), Spread())
    assert not any(pair.add(n * 96_000, 0.0) for n in range(20_000))


def test_a_detector_raises_its_alarm_once_and_does_not_care_how_its_blocks_are_filled() -> None:
    rng = np.random.default_rng(1)
    differences = rng.normal(0.2, 1.0, 5_000).tolist()
    whole = Detector("medium", 50, 0.0, 1_000.0, 0.1)
    alarms = [n for n, difference in enumerate(differences) if whole.add(difference)]
    assert len(alarms) == 1
    by_hand = Detector("medium", 0, 0.0, 1_000.0, 0.1)
    ended = []
    for n, difference in enumerate(differences):
        by_hand.add(difference)
        if n % 50 == 49 and by_hand.end():
            ended.append(n)
    assert ended == alarms
