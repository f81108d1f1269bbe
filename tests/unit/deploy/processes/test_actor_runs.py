"""An actor's `run`: the role's steps are done once, and who calls it later waits for their end, with their error."""

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from deploy.config import Settings
from deploy.processes import actors
from deploy.processes.actors import Actor
from deploy.processes.roles import Plan
from streams.errors import StoreRefused
from tests import small


@pytest.mark.parametrize("wrong", [None, StoreRefused("look")])
def test_the_steps_are_done_once_and_only_the_last_caller_waits(
    wrong: Exception | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, end, built = threading.Event(), threading.Event(), list[str]()

    class Role:
        def step(self, _: int) -> None:
            begun.set()
            assert end.wait(60)
            if wrong:
                raise wrong

    def build(role: str, *_: Any) -> Role:
        built.append(role)
        return Role()

    monkeypatch.setattr(actors, "build", build)
    monkeypatch.setattr(actors, "load", lambda _: small.pipeline)
    plan = Plan(pipeline=tmp_path / "pipeline.py", settings=Settings(), registry=tmp_path, fetch_wait_ms=1)
    actor = Actor("learner", plan)
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
