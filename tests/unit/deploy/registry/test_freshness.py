"""Freshness: no outcome is lost or made younger on its way, whatever the order and the number of arrivals."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from deploy.registry.freshness import MOST, Arrivals, ArrivalsNote, Histogram, Span

TIMES = st.lists(st.integers(0, 10**9), max_size=4 * MOST)


@given(TIMES, TIMES)
def test_all_are_counted_at_most_as_late_as_they_came(first: list[int], second: list[int]) -> None:
    one, other = Arrivals(), Arrivals()
    one.add([*first, -1])
    other.add(second)
    one.merge(other)
    rows = one.rows()
    assert len(rows) <= MOST
    assert sum(count for _, count in rows) == len(first) + len(second)
    counted = np.repeat(*np.array(rows, dtype=int).reshape(-1, 2).T)
    came = np.sort(first + second)
    assert (counted <= came).all()
    assert (came - counted < max(1, 2 * 10**9 / MOST * 2)).all()


def test_few_arrivals_are_kept_to_the_millisecond() -> None:
    arrivals = Arrivals()
    arrivals.add(range(0, 7 * MOST, 7))
    assert arrivals.rows() == [(7 * n, 1) for n in range(MOST)]


def test_a_version_is_the_first_to_know_what_its_predecessor_s_commit_had_not() -> None:
    note = ArrivalsNote([Span(3, [(10, 1)]), Span(7, [(20, 2)]), Span(9, [(30, 4)])])
    assert note.between(3, 7) == [(20, 2)]
    assert note.between(3, 9) == [(20, 2), (30, 4)]
    assert note.between(9, 9) == []


@given(st.lists(st.integers(2, 10**8), min_size=1, max_size=400))
def test_quantiles_are_right_to_a_bucket(ages_ms: list[int]) -> None:
    histogram = Histogram()
    histogram.add([(10**9 - age, 1) for age in ages_ms], 10**9)
    ages = histogram.ages
    assert ages is not None
    assert (ages.count, sum(ages.counts)) == (len(ages_ms), len(ages_ms))
    for share, said in ((0.5, ages.p50_ms), (0.99, ages.p99_ms)):
        right = float(np.quantile(ages_ms, share, method="inverted_cdf"))
        assert right / 2 ** (1 / 4) - 0.1 <= said <= right * 2 ** (1 / 4) + 0.1


def test_what_arrives_in_the_future_of_the_clock_has_the_least_age() -> None:
    histogram = Histogram()
    histogram.add([(2_000, 3)], 1_000)
    assert histogram.ages is not None
    assert histogram.ages.upto_ms == [1.0]
