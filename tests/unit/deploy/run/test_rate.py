"""Events a second: only what this run has seen counts, whatever the counters hold of earlier ones."""

from deploy.run.rate import Rate


def test_events_of_earlier_runs_do_not_count() -> None:
    rate = Rate()
    assert rate.of(100.0, 1_000_000, 0) is None
    assert rate.of(102.0, 1_000_060, 40) == 50
    assert rate.of(110.0, 1_000_060, 40) == 10


def test_a_counter_that_began_at_0_again_has_grown_by_what_it_shows() -> None:
    rate = Rate()
    rate.of(0.0, 500, 300)
    assert rate.of(1.0, 500, 20) == 20
    assert rate.of(2.0, 510, 30) == 20
