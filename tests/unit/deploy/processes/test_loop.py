"""A role's steps: begun anew where a retry helps and when asked, stopped when asked, ended by any other error."""

from collections.abc import Callable
from contextlib import ExitStack

import pytest

from deploy.processes import loop as loops
from deploy.processes.loop import Loop, Step
from streams.errors import BrokerUnreachable, LostRace, LostRange, StoreRefused


class Role:
    """Does one of `steps` after the other, in whichever life, and writes down what happens."""

    def __init__(self, *steps: Callable[[], object]) -> None:
        self.steps, self.log = list(steps), list[str]()

    def build(self, stack: ExitStack) -> Step:
        self.log.append("built")
        stack.callback(self.log.append, "closed")
        return self.step

    def step(self, block_ms: int) -> None:
        self.log.append(f"step {block_ms}")
        self.steps.pop(0)()


@pytest.fixture(autouse=True)
def _no_rest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loops, "RETRY_S", 0.0)


def fail(error: Exception) -> Callable[[], object]:
    def step() -> None:
        raise error

    return step


def go_on() -> None:
    """Do nothing."""


def test_it_steps_until_it_is_stopped() -> None:
    loop = Loop()
    role = Role(go_on, loop.stop)
    loop.run("joiner", role.build, 7)
    assert role.log == ["built", "step 7", "step 7", "closed"]


@pytest.mark.parametrize("error", [BrokerUnreachable("no answer"), LostRace("commit 3 was made by another learner")])
def test_it_begins_anew_where_a_retry_helps(error: Exception, caplog: pytest.LogCaptureFixture) -> None:
    loop = Loop()
    role = Role(fail(error), go_on, loop.stop)
    loop.run("joiner", role.build, 7)
    assert role.log == ["built", "step 7", "closed", "built", "step 7", "step 7", "closed"]
    assert [record.getMessage() for record in caplog.records] == [f"joiner: {error}; trying again in 0 s"]


@pytest.mark.parametrize("error", [LostRange("records 3 to 5"), StoreRefused("it may evict"), ValueError("a mistake")])
def test_any_other_error_ends_it(error: Exception) -> None:
    role = Role(fail(error))
    with pytest.raises(type(error), match=str(error)):
        Loop().run("joiner", role.build, 7)
    assert role.log == ["built", "step 7", "closed"]


def test_it_begins_anew_when_it_is_asked_to() -> None:
    loop = Loop()
    role = Role(loop.begin_anew, loop.stop)
    loop.run("joiner", role.build, 7)
    assert role.log == ["built", "step 7", "closed", "built", "step 7", "closed"]


def test_an_error_while_it_is_being_built_is_retried_as_well() -> None:
    loop, lives = Loop(), list[str]()

    def build(stack: ExitStack) -> Step:
        lives.append("life")
        if len(lives) == 1:
            raise BrokerUnreachable("no answer")
        return lambda _: loop.stop()

    loop.run("server", build, 7)
    assert len(lives) == 2
