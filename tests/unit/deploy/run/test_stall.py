"""Waiting for the loop: no time is too long while something moves; where nothing does it is said."""

from typing import cast

import pytest

from deploy.monitor import Monitor
from deploy.run import stall
from streams.errors import Stalled


class Looks:
    """A monitor, and its progress, that reaches one thing after the other and stays at the last one."""

    def __init__(self, *reached: int) -> None:
        self._reached = list(reached)

    def progress(self) -> "Looks":
        return self

    def reached(self) -> int:
        return self._reached.pop(0) if len(self._reached) > 1 else self._reached[0]


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stall, "STALL_S", -1.0)


def test_it_waits_while_something_moves() -> None:
    left = iter([False] * 5 + [True])
    assert len(list(stall.until(lambda: next(left), cast("Monitor", Looks(*range(9))), "it"))) == 5


def test_two_equal_looks_are_a_standstill() -> None:
    waiting = stall.until(lambda: False, cast("Monitor", Looks(1, 2, 2)), "the slice is not finished")
    for _ in range(3):
        next(waiting)
    with pytest.raises(Stalled, match="the slice is not finished, and nothing has moved"):
        next(waiting)
