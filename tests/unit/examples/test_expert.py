"""The experts example: small experts, and a feed that tells nothing before its time, each thing once."""

import inspect
from pathlib import Path

import msgspec
import pytest

from deploy.pipeline import Pipeline, load
from learners.live.settings import Live

MINUTE_MS = 60_000


@pytest.fixture(scope="module")
def pipeline() -> Pipeline:
    return load(Path(__file__).parents[3] / "examples" / "expert" / "pipeline.py")


def test_an_expert_takes_twenty_lines(pipeline: Pipeline) -> None:
    assert isinstance(pipeline.live, Live)
    for expert in pipeline.live.experts:
        lines = [line for line in inspect.getsource(expert).splitlines() if line.strip()]
        assert len(lines) <= 20, expert


def test_they_answer_beside_the_tables(pipeline: Pipeline) -> None:
    live = pipeline.experts()
    assert live is not None
    assert live.names[2:6] == ("nag", "w4", "river", "vw")


def test_the_feed_asks_about_each_site_and_tells_ten_minutes_later(pipeline: Pipeline) -> None:
    assert pipeline.feed is not None
    assert pipeline.history is not None
    events = list(pipeline.feed())
    asked = {event.key: event for event in events if event.topic == "requests"}
    told = {event.key: event for event in events if event.topic == "outcomes"}
    assert len(asked) == len(told) == len(events) / 2 == 1_000
    assert [event.t_ms for event in events] == sorted(event.t_ms for event in events)
    assert {told[key].t_ms - event.t_ms for key, event in asked.items()} == {10 * MINUTE_MS}
    sites = [row.features for row in pipeline.history()]
    sites += [msgspec.json.decode(event.value, type=pipeline.features) for event in asked.values()]
    assert len(sites) == 1_250
    assert {value for site in sites for value in msgspec.structs.astuple(site)} == {0.0, 0.5, 1.0}
