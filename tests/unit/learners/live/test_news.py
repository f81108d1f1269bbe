"""News: how late outcomes are, and k80."""

import heapq
import math
from bisect import bisect_left
from collections.abc import Callable

import numpy as np
import pytest

from learners.live.news import AGES_MS, DAY_MS, News, ages_until

HOUR_MS = DAY_MS // 24


def told(delays_ms: list[float], every_ms: int, news: News | None = None, until_ms: float = math.inf) -> News:
    """Return the counts of predictions asked one after another, each with its delay; inf: its outcome never comes."""
    news = news or News()
    ages = news.ages_ms
    queue = [(n * every_ms + ages[0], n, 0) for n in range(len(delays_ms))]
    heapq.heapify(queue)
    while queue:
        at, n, age = heapq.heappop(queue)
        if at > until_ms:
            break
        ended = delays_ms[n] <= ages[age]
        news.count(age, ended=ended)
        if not ended and age + 1 < len(ages):
            heapq.heappush(queue, (n * every_ms + ages[age + 1], n, age + 1))
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
    news = told(delays.tolist(), HOUR_MS, News(ages_until(36 * HOUR_MS)))
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
    delays, news = draw.exponential(5 * DAY_MS, 4_000), News()
    queue = [(t + news.ages_ms[0], n, 0) for n, t in enumerate(times)]
    heapq.heapify(queue)
    while queue:
        at_ms, n, age = heapq.heappop(queue)
        if at_ms > times[-1]:
            break
        ended = bool(delays[n] <= news.ages_ms[age])
        news.count(age, ended=ended)
        if not ended and age + 1 < len(news.ages_ms):
            heapq.heappush(queue, (times[n] + news.ages_ms[age + 1], n, age + 1))
    assert news.k80_ms == age_of(5 * DAY_MS * math.log(5))


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
    for window_ms in (1_000, DAY_MS, DAY_MS + 1, AGES_MS[-1], 2 * AGES_MS[-1]):
        ages = ages_until(window_ms)
        assert ages[-1] == window_ms
        assert sorted(set(ages)) == list(ages)
    with pytest.raises(ValueError, match="ages"):
        News((60, 60))


def test_a_state_goes_on_as_the_one_that_was_not_saved() -> None:
    delays = np.random.default_rng(0).exponential(5 * DAY_MS, 500).tolist()
    whole = told(delays, HOUR_MS)
    other = News()
    other.load(whole.state())
    for news in (whole, other):
        told(delays, HOUR_MS, news)
    assert {n: v.tolist() for n, v in whole.state().items()} == {n: v.tolist() for n, v in other.state().items()}
