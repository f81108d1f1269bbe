"""When a role's process hangs, and what is said of one that waits or was started again."""

import os
import socket

import pytest

from deploy.processes.health import LOOK_S, SILENT_S, LookedAfter, Process
from deploy.processes.loop import Health

HERE, THERE = Process(socket.gethostname(), 10**9), Process("elsewhere", 7)


class Clock:
    def __init__(self) -> None:
        self.now_s = 50.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def clock() -> Clock:
    return Clock()


def silent(one: LookedAfter, clock: Clock, seconds: float, every_s: float = 0.25) -> bool:
    hangs = False
    for _ in range(round(seconds / every_s)):
        clock.now_s += every_s
        hangs = one.hangs()
    return hangs


def test_a_process_that_does_not_answer_hangs_once_it_has_begun(clock: Clock) -> None:
    server = LookedAfter("server", clock)
    assert not silent(server, clock, 1_000)  # it imports what it needs
    server.answered(HERE, Health())
    assert server.line == ""
    assert not silent(server, clock, SILENT_S["server"] - 1)
    assert silent(server, clock, 2)
    assert server.line == "server hangs: it has not answered for 5 s; it is started again"


def test_time_in_which_nobody_looked_does_not_count(clock: Clock) -> None:
    server = LookedAfter("server", clock)
    server.answered(HERE, Health())
    clock.now_s += 1_000
    assert not server.hangs()
    assert not silent(server, clock, SILENT_S["server"] - LOOK_S - 1)


@pytest.mark.parametrize(("role", "hangs"), [("server", True), ("joiner-1", False), ("learner", False)])
def test_a_step_may_take_as_long_as_a_role_s_steps_do(role: str, hangs: bool, clock: Clock) -> None:
    one = LookedAfter(role, clock)
    one.answered(HERE, Health(step_s=61.0))
    assert one.hangs() is hangs
    one.answered(HERE, Health(step_s=601.0))
    assert one.hangs()
    distiller = LookedAfter("distiller", clock)
    distiller.answered(HERE, Health(step_s=1e6))
    assert not distiller.hangs()


def test_what_it_waits_for_and_how_often_it_was_started_again_is_said(clock: Clock) -> None:
    one = LookedAfter("learner", clock)
    one.answered(HERE, Health(waits_s=12.3, waits_for="the store does not answer"))
    assert one.line == "learner waits since 12 s: the store does not answer"
    one.begun_again()
    one.answered(HERE._replace(pid=8), Health())
    assert one.line == "learner (started again 1×)"
    one.begun_again()
    one.answered(HERE._replace(pid=9), Health(waits_s=1, waits_for="the disk is full"))
    assert one.line == "learner waits since 1 s: the disk is full (started again 2×)"


def test_a_process_of_another_machine_gets_no_signal(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    signals, killed = list[int](), list[str]()
    monkeypatch.setattr(os, "kill", lambda pid, number: signals.append(pid))
    for process in (HERE, THERE):
        one = LookedAfter("server", clock)
        one.answered(process, Health(step_s=1e6))
        one.end(lambda process=process: killed.append(process.host))  # type: ignore[misc]
        assert not one.hangs()
    assert signals == [HERE.pid]
    assert killed == ["elsewhere"]


def test_a_process_lives_since_its_first_answer_and_is_absent_until_then(clock: Clock) -> None:
    one = LookedAfter("server", clock)
    clock.now_s += 7
    assert (one.lived_s, one.absent_s) == (0.0, 7.0)
    one.answered(HERE, Health())
    clock.now_s += 3
    one.answered(HERE, Health())
    assert (one.lived_s, one.absent_s) == (3.0, 0.0)
    one.begun_again()
    clock.now_s += 2
    assert (one.lived_s, one.absent_s) == (0.0, 2.0)
