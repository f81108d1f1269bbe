"""The actors of a run that takes over begin before it does, and end once."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from deploy.config import Settings
from deploy.processes.roles import Plan
from deploy.run import ahead


class System:
    def __init__(self, noted: list[str]) -> None:
        self._noted = noted

    def ready(self) -> None:
        self._noted.append("ready")


@pytest.fixture
def noted(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    found: list[str] = []

    @contextmanager
    def started(*_: object, serves: bool) -> Iterator[System]:
        found.append("begun, servers first" if serves else "begun")
        yield System(found)
        found.append("ended")

    monkeypatch.setattr(ahead, "started", started)
    return found


@pytest.fixture
def plan(tmp_path: Path) -> Plan:
    return Plan(pipeline=tmp_path / "pipeline.py", settings=Settings(), registry=tmp_path, fetch_wait_ms=1)


def test_they_are_ready_before_they_are_asked_for_and_end_where_they_were_asked_for(
    noted: list[str], plan: Plan
) -> None:
    with ahead.ahead(plan) as start:
        noted.append("the other run ends")
        with start(plan, None, serves=True):
            noted.append("run")
        noted.append("the feed is let go")
    assert noted == ["begun, servers first", "ready", "the other run ends", "run", "ended", "the feed is let go"]


def test_where_the_feed_is_not_had_they_end_as_well(noted: list[str], plan: Plan) -> None:
    with ahead.ahead(plan):
        pass
    assert noted == ["begun, servers first", "ready", "ended"]


def test_without_a_plan_they_begin_when_they_are_asked_for(noted: list[str], plan: Plan) -> None:
    with ahead.ahead(None) as start:
        noted.append("the feed is had")
        with start(plan, None, serves=False):
            noted.append("run")
    assert noted == ["the feed is had", "begun", "run", "ended"]
