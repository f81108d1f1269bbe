"""An actor's `run`: the role's steps are done once, and who calls it later waits for their end, with their error."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from deploy.processes.actors.actor import Actor
from deploy.processes.loop import Builder
from streams.errors import StoreRefused


@pytest.mark.parametrize("wrong", [None, StoreRefused("look")])
def test_the_steps_are_done_once_and_only_the_last_caller_waits(wrong: Exception | None) -> None:
    begun, end, built = threading.Event(), threading.Event(), list[str]()

    def step(_: int) -> None:
        begun.set()
        assert end.wait(60)
        if wrong:
            raise wrong

    def job(*_: object) -> Builder:
        built.append("learner")
        return lambda stack: step

    actor = Actor("learner", job, block_ms=1)
    with ThreadPoolExecutor(3) as callers:
        first = callers.submit(actor.run, None)
        assert begun.wait(60)
        second = callers.submit(actor.run, None)
        assert first.result(60) is None, "its caller has ended"
        assert not second.done()
        actor.stop()
        end.set()
        assert second.exception(60) is wrong
        assert callers.submit(actor.run, None).exception(60) is wrong
    assert built == ["learner"]
