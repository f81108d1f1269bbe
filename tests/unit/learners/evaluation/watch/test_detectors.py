"""What the detectors see, how fast, and that chance alone gives no alarm: all is simulated, days differ at random."""

import numpy as np
import pytest
from numpy.typing import NDArray

from learners.evaluation.trials.asked import DAY_MS
from learners.evaluation.watch.detector import EVERY, Detector
from learners.evaluation.watch.pair import DAILY, FAST, USUAL, Pair, Seen, before, older, spread

A_DAY, LOSS = 900, 0.48  # predictions of flights a day, and their loss
SPREAD, EACH = spread([], LOSS), 0.1
ROOT_3 = 3**0.5


def heavy(rng: np.random.Generator, days: int) -> NDArray[np.float64]:
    return rng.standard_t(3, days) / ROOT_3


KINDS = {
    "uniform": lambda rng, days: rng.uniform(-ROOT_3, ROOT_3, days),
    "Gaussian": lambda rng, days: rng.normal(size=days),
    "heavy tails": heavy,
}


def first(worse: float, days: int, seed: int, kind: str = "Gaussian", a_day: int = A_DAY) -> Seen | None:
    """Return what is first seen of a champion whose loss is higher by so much, in so many days."""
    rng = np.random.default_rng(seed)
    pair = Pair("before", 3, before(SPREAD, a_day))
    for day, off in enumerate(KINDS[kind](rng, days).tolist()):
        t_ms = day * DAY_MS + np.arange(a_day) * (DAY_MS // a_day)
        if seen := pair.take(t_ms, worse + USUAL * LOSS * off + rng.normal(0, EACH, a_day)):
            return seen
    return None


@pytest.mark.parametrize("kind", KINDS)
def test_equal_versions_give_an_alarm_in_ten_years_at_most(kind: str) -> None:
    assert sum(first(0.0, 365, seed, kind) is not None for seed in range(10)) <= 1


def test_a_better_champion_gives_no_alarm() -> None:
    assert first(-0.05, 60, 0) is None


@pytest.mark.parametrize(("share", "samples"), [(1.0, 300), (0.5, 1_200), (0.2, 2_000)])
def test_one_that_is_worse_is_seen_soon(share: float, samples: int) -> None:
    found = [first(share * LOSS, 30, seed) for seed in range(9)]
    counts = sorted(seen.samples for seen in found if seen)
    assert len(counts) == 9
    assert counts[7] <= samples
    assert all(seen.gain < 0 and seen.log_r >= seen.log_needed for seen in found if seen)


def test_a_little_worse_is_seen_within_weeks() -> None:
    found = [first(0.06 * LOSS, 60, seed) for seed in range(5)]
    assert all(seen is not None and seen.samples < 25 * A_DAY and seen.detector == DAILY for seen in found)


def test_one_that_is_much_worse_is_seen_on_the_same_day_where_days_have_many_predictions() -> None:
    seen = first(LOSS, 1, 0, a_day=20_000)
    assert seen is not None
    assert (seen.detector, seen.samples <= 300) == (FAST, True)


def test_a_day_is_one_piece_of_evidence_however_many_predictions_it_has() -> None:
    """A single bad day, of which no later one says the same, is forgiven."""
    for a_day in (900, 9_000):
        pair = Pair("before", 3, before(SPREAD, a_day))
        for day in range(20):
            t_ms = day * DAY_MS + np.arange(a_day) * (DAY_MS // a_day)
            off = 8 * USUAL * LOSS if day == 3 else -0.5 * USUAL * LOSS
            assert pair.take(t_ms, np.full(a_day, off) + np.tile([EACH, -EACH], a_day // 2)) is None


def test_an_old_version_comes_back_by_a_clear_gain_alone() -> None:
    for worse, comes in ((0.03 * LOSS, False), (0.3 * LOSS, True)):
        rng, pair = np.random.default_rng(0), Pair("first", 0, older(SPREAD, 4))
        t_ms = np.arange(60 * A_DAY) * 96_000
        assert (pair.take(t_ms, worse + rng.normal(0, EACH, len(t_ms))) is not None) is comes


def test_identical_models_give_no_alarm() -> None:
    pair = Pair("before", 3, before(0.0, A_DAY))
    assert pair.take(np.arange(20_000) * 96_000, np.zeros(20_000)) is None


def test_rare_disasters_of_a_few_predictions_are_no_alarm() -> None:
    """A difference of 5 in 50 that are 0 says that 0 is as likely, however far 0.1 is off what days are."""
    pair, rare = Pair("before", 3, before(SPREAD, A_DAY)), np.zeros(40 * A_DAY)
    rare[::2_000] = 5.0
    rare[1_000::2_000] = -5.0
    assert pair.take(np.arange(len(rare)) * 96_000, rare) is None


def test_days_say_what_is_usual_without_what_is_gained_and_what_chance_brings() -> None:
    rng, pair = np.random.default_rng(0), Pair("before", 3, [])
    offs = 0.06 * LOSS * rng.normal(size=300)
    for day, off in enumerate(offs.tolist()):
        pair.take(day * DAY_MS + np.arange(100), off - LOSS + rng.normal(0, EACH, 100))  # a champion that is far better
    assert np.sqrt(np.mean(pair.days)) == pytest.approx(0.06 * LOSS, rel=0.1)
    assert spread(pair.days[:30], LOSS) > 1.2 * SPREAD
    assert spread([], LOSS) == SPREAD


def test_days_of_few_predictions_say_nothing() -> None:
    for days, count in ((10, EVERY - 1), (1, A_DAY)):
        pair = Pair("before", 3, [])
        for day in range(days + 1):
            pair.take(day * DAY_MS + np.arange(count), np.random.default_rng(day).normal(1, EACH, count))
        assert pair.days == []


@pytest.mark.parametrize(("worse", "a_day"), [(0.2 * LOSS, A_DAY), (LOSS, A_DAY), (0.1 * LOSS, 330)])
def test_an_alarm_does_not_depend_on_how_differences_come(worse: float, a_day: int) -> None:
    t_ms = np.arange(20 * a_day) * (DAY_MS // a_day)
    differences = np.random.default_rng(1).normal(worse, EACH, len(t_ms))
    found = []
    for cut in (len(t_ms), 1, 7, 333):
        pair = Pair("before", 3, before(SPREAD, a_day))
        parts = [slice(start, start + cut) for start in range(0, len(t_ms), cut)]
        found.append(next(seen for part in parts if (seen := pair.take(t_ms[part], differences[part]))))
    assert len({(seen.detector, seen.log_r, seen.samples) for seen in found}) == 1


def test_an_alarm_comes_once() -> None:
    detector = Detector("one", 100, 0.0, 0.01, 3_652.0)
    assert detector.take(np.full(1_000, 0.05)) is not None
    assert detector.take(np.full(1_000, 0.05)) is None
    assert not detector.end()
