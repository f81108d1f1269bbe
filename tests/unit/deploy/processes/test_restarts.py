"""When a role that has ended begins again, by a clock that the test moves."""

from hypothesis import given
from hypothesis import strategies as st

from deploy.processes.restarts import AT_ONCE_S, GOOD_S, HELD_AFTER, HELD_S, PAUSES_S, Restarts


class Life:
    """A role that is begun as soon as it is due; a life lasts as long as it is told."""

    def __init__(self) -> None:
        self.now_s = 10.0
        self.restarts = Restarts(lambda: self.now_s)

    def end(self, why: str, lived_s: float) -> float:
        """Let it live and end; return how long after that it was begun."""
        self.now_s += lived_s
        self.restarts.ended(why, lived_s)
        ended_s = self.now_s
        while not self.restarts.due:
            self.now_s += 0.5
        self.restarts.begun()
        assert not self.restarts.due
        return self.now_s - ended_s


def test_the_pauses_grow_and_begin_small_again_after_a_good_life() -> None:
    life = Life()
    pauses = [life.end("it lost its way", AT_ONCE_S) for _ in range(len(PAUSES_S) + 2)]
    assert pauses == [*PAUSES_S, PAUSES_S[-1], PAUSES_S[-1]]
    assert not life.restarts.held
    assert life.end("it lost its way", GOOD_S) == PAUSES_S[0]


def test_one_that_ends_at_once_each_time_by_one_error_is_held() -> None:
    life = Life()
    pauses = [life.end("no such module", 0.1) for _ in range(HELD_AFTER + 2)]
    assert pauses == [*PAUSES_S[: HELD_AFTER - 1], HELD_S, HELD_S, HELD_S]
    assert life.restarts.held
    assert life.restarts.last == "no such module"
    life.end("no such module", GOOD_S)
    assert not life.restarts.held


def test_errors_that_differ_hold_nobody() -> None:
    life = Life()
    for why in ("a", "b") * HELD_AFTER:
        life.end(why, 0.1)
    assert not life.restarts.held


@given(st.lists(st.tuples(st.sampled_from("ab"), st.floats(0, 2 * GOOD_S)), max_size=30))
def test_whoever_ends_begins_again_within_a_minute_and_at_once_after_a_good_life(ends: list[tuple[str, float]]) -> None:
    life = Life()
    for why, lived_s in ends:
        pause_s = life.end(why, lived_s)
        assert pause_s <= HELD_S + 1e-6
        assert pause_s == 0 or lived_s < GOOD_S
