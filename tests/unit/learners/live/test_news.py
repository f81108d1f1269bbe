"""News: how late outcomes are, and k80."""

import math
from bisect import bisect_left
from collections.abc import Callable

import numpy as np
import pytest

from learners.live.news import AGES_MS, DAY_MS, News

HOUR_MS = DAY_MS // 24


def told(
    delays_ms: list[float], every_ms: int, news: News | None = None, until_ms: float = math.inf,
    window_ms: int = AGES_MS[-1],
) -> News:  # fmt: skip
    """Return the counts of predictions asked one after another, each with its delay; inf: its outcome never comes."""
    return asked([n * every_ms for n in range(len(delays_ms))], delays_ms, news, until_ms, window_ms=window_ms)


def asked(
    times_ms: list[int], delays_ms: list[float], news: News | None = None, until_ms: float = math.inf, every: int = 1,
    window_ms: int = AGES_MS[-1],
) -> News:  # fmt: skip
    """Return the counts of predictions of these times; whoever counts hears of them after every so many events."""
    news, start = news or News(), 0
    if news.state()["at"][2]:  # it goes on where it ended
        start = int(news.state()["cohorts"][0, -1]) + 1
    before = int(news.state()["at"][2])
    came = [(t + start + delay, t + start) for t, delay in zip(times_ms, delays_ms, strict=True) if delay < math.inf]
    events = sorted([(float(t + start), -1) for t in times_ms] + came)
    last = start + times_ms[-1] if until_ms == math.inf else until_ms
    predictions = before
    for n, (at, t_ms) in enumerate(events):
        if at > min(last + news.ages_ms[-1], until_ms):
            break
        if n % every == 0:
            news.asked(int(at) - 1, predictions, window_ms)
        if t_ms < 0:
            predictions += 1
        else:
            news.outcome(int(t_ms), int(at - t_ms))
    return news


def age_of(delay_ms: float) -> int:
    """Return the least age that is as much."""
    return AGES_MS[bisect_left(AGES_MS, delay_ms)]


@pytest.mark.parametrize("mean_ms", [HOUR_MS, 10 * HOUR_MS, 5 * DAY_MS, 60 * DAY_MS])
def test_k80_is_where_eighty_per_cent_has_come(mean_ms: float) -> None:
    delays = np.random.default_rng(0).exponential(mean_ms, 3_000)
    news = told(delays.tolist(), HOUR_MS)
    assert news.known
    k80 = age_of(np.quantile(delays, 0.8))
    assert news.k80_ms in (k80, age_of(k80 + 1)) or news.k80_ms == max(a for a in AGES_MS if a < k80)
    assert news.late is (news.hold_ms > DAY_MS)


def test_a_delay_of_a_day_is_not_late() -> None:
    news = told([DAY_MS] * 1_000, HOUR_MS)
    assert (news.k80_ms, news.late) == (DAY_MS, False)


def test_nothing_is_known_before_it_could_be() -> None:
    """Early news must not pass for all of it: half comes in an hour, half in ten days."""
    delays = [float(HOUR_MS), 10.0 * DAY_MS] * 2_000
    for day in range(10):
        news = told(delays, HOUR_MS // 4, until_ms=day * DAY_MS)
        assert not news.known
        assert news.hold_ms >= day * DAY_MS / 4
    assert told(delays, HOUR_MS // 4).k80_ms == age_of(10 * DAY_MS)


def test_it_is_late_as_soon_as_it_must_be() -> None:
    news = told([9.0 * DAY_MS] * 1_000, HOUR_MS // 4, until_ms=2.5 * DAY_MS)
    assert (news.known, news.late) == (False, True)


def test_outcomes_that_never_come_do_not_hide_k80() -> None:
    delays = np.random.default_rng(0).exponential(HOUR_MS, 4_000)
    delays[::3] = math.inf
    news = told(delays.tolist(), HOUR_MS, window_ms=36 * HOUR_MS)
    assert news.k80_ms in (6 * HOUR_MS, 6 * HOUR_MS // 4)


def test_what_comes_at_once_does_not_hide_what_comes_late() -> None:
    """Two per cent in a second, then nothing for a month."""
    delays = [1_000.0 if n % 50 == 0 else 40.0 * DAY_MS for n in range(4_000)]
    assert told(delays, HOUR_MS).k80_ms == age_of(40 * DAY_MS)


@pytest.mark.parametrize("volume", [lambda n: 1 + n / 500, lambda n: 8 - n / 600, lambda n: 1 + 5 * (n % 50 < 10)])
def test_the_volume_does_not_matter(volume: Callable[[int], float]) -> None:
    draw, times, at = np.random.default_rng(0), [], 0.0
    for n in range(4_000):
        at += HOUR_MS / volume(n)
        times.append(int(at))
    delays = draw.exponential(5 * DAY_MS, 4_000)
    assert asked(times, delays.tolist(), until_ms=times[-1]).k80_ms == age_of(5 * DAY_MS * math.log(5))


def test_a_changed_law_is_followed() -> None:
    news = told([5.0 * HOUR_MS] * 12_000, HOUR_MS)
    assert news.k80_ms == 6 * HOUR_MS
    assert told([30.0 * HOUR_MS] * 30_000, HOUR_MS, news).k80_ms == age_of(30 * HOUR_MS)


def test_a_share_that_sways_moves_nothing() -> None:
    """78 % at six hours, then 82 %, and so on: k80 is not moved by what is not news."""
    news, seen = News(), set()
    for share in (0.83, 0.78, 0.82, 0.77, 0.83, 0.78):
        delays = [HOUR_MS * 5.0 if n % 100 < 100 * share else HOUR_MS * 20.0 for n in range(5_000)]
        told(delays, HOUR_MS, news)
        seen.add(news.k80_ms)
    assert seen == {6 * HOUR_MS}


def test_ages_rise() -> None:
    with pytest.raises(ValueError, match="ages"):
        News((60, 60))


@pytest.mark.parametrize("every", [7, 300])
def test_it_may_hear_of_predictions_seldom(every: int) -> None:
    delays = np.random.default_rng(0).exponential(5 * DAY_MS, 3_000).tolist()
    times = [n * HOUR_MS for n in range(3_000)]
    assert asked(times, delays, every=every).k80_ms == asked(times, delays).k80_ms


def test_cohorts_are_bounded() -> None:
    """An hour's news in a window of two years."""
    delays = np.random.default_rng(0).exponential(HOUR_MS, 30_000)
    news = told(delays.tolist(), HOUR_MS // 2, window_ms=700 * DAY_MS)
    assert news.state()["ends"].shape[0] <= 8 * 512


def test_a_store_that_was_lost_counts_from_zero_again() -> None:
    news = told([HOUR_MS * 2.0] * 1_000, HOUR_MS)
    k80, last = news.k80_ms, int(news.state()["cohorts"][0, -1])
    for n in range(100):
        news.asked(last + n * HOUR_MS, n, AGES_MS[-1])
    assert news.k80_ms == k80


def test_a_state_goes_on_as_the_one_that_was_not_saved() -> None:
    delays = np.random.default_rng(0).exponential(5 * DAY_MS, 500).tolist()
    whole = told(delays, HOUR_MS)
    other = News()
    other.load(whole.state())
    for news in (whole, other):
        told(delays, HOUR_MS, news)
    assert {n: v.tolist() for n, v in whole.state().items()} == {n: v.tolist() for n, v in other.state().items()}


def test_small_cohorts_whose_counts_are_a_little_early_or_late_lose_no_outcome() -> None:
    """Whoever counts cannot know to the millisecond which predictions were asked up to then."""
    news, n = News(), 0
    for hour in range(400):
        news.outcome(hour * HOUR_MS, HOUR_MS - 1)
        early = 2 if hour % 2 else -2
        n = max(n, hour + 1 + early)
        news.asked((hour + 1) * HOUR_MS, n, AGES_MS[-1])
    assert news.k80_ms == next(age for age in AGES_MS if age >= HOUR_MS)


def test_a_share_is_of_the_time_since_the_first_news_whatever_feed_it_was_of() -> None:
    news = News((1_000, 60_000))
    assert news.share(500, 500) == 1
    news.asked(1_000, 10, window_ms=60_000)
    assert news.share(3_000, 5_000) == 0.5
    news.begin()
    news.asked(4_000, 10, window_ms=60_000)
    assert news.share(3_000, 5_000) == 0.5
    assert (news.share(0, 5_000), news.share(6_000, 5_000), news.share(500, 800)) == (0, 1, 1)


def test_in_a_state_of_before_shares_all_had_passed() -> None:
    news, old, day_ms = News(), News(), 20_000 * DAY_MS
    news.asked(day_ms, 10, window_ms=DAY_MS)
    state = news.state()
    state["at"] = state["at"][:5]
    old.load(state)
    assert old.share(day_ms + DAY_MS, day_ms + 2 * DAY_MS) > 0.999
    assert (old.state()["at"][:5] == state["at"]).all()
