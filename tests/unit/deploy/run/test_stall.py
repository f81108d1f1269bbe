"""Waiting for the loop: no time is too long while something moves; where nothing does it is said."""

from typing import cast

import pytest

from deploy.monitor import Monitor
from deploy.run import stall
from streams.errors import Stalled

STALL_S = 100.0


class Looks:
    """A monitor, and its progress, that reaches one thing after the other and stays at the last one."""

    def __init__(self, *reached: int) -> None:
        self._reached = list(reached)

    def progress(self) -> "Looks":
        return self

    def reached(self) -> int:
        return self._reached.pop(0) if len(self._reached) > 1 else self._reached[0]


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each look at the clock is ten seconds after the one before."""
    times = iter(range(0, 1_000_000, 10))
    monkeypatch.setattr("deploy.run.stall.time.monotonic", lambda: float(next(times)))


def test_it_waits_while_something_moves() -> None:
    left = iter([False] * 500 + [True])
    looks = Looks(*(n // 9 for n in range(9_000)))  # 80 s between two steps
    assert len(list(stall.until(lambda: next(left), cast("Monitor", looks), "it", STALL_S))) == 500


def test_a_standstill_counts_from_the_last_progress() -> None:
    waiting = stall.until(lambda: False, cast("Monitor", Looks(1, 2, 3, 4, 4)), "the slice is not finished", STALL_S)
    for _ in range(14):  # three steps, then ten looks
        next(waiting)
    with pytest.raises(Stalled, match=r"the slice is not finished, and nothing has moved for 100 s \(replay.stall_s\)"):
        next(waiting)
