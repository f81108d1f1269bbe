"""A backtest of events alone: they are learned as in a replay, from files or from a broker's topics."""

from collections import Counter
from contextlib import closing
from pathlib import Path

import msgspec
import pytest
from msgspec.structs import replace

from deploy.backtest.events import of_files, of_topics
from deploy.config import Settings
from deploy.operate.versions.backtest import on_events
from deploy.pipeline import load
from streams.errors import ConfigError
from streams.kafka import Sink, Tp, ensure_topics
from streams.kafka.broker import Broker
from tests.conftest import Running

PIPELINE = """
from dataclasses import replace
from shadowstream import Promotion
from tests import small

pipeline = replace(small.pipeline, name="files", feed=lambda: small.feed(days=3, every_min=30))
"""


@pytest.fixture
def pipeline(tmp_path: Path) -> Path:
    (path := tmp_path / "pipeline.py").write_text(PIPELINE)
    return path


@pytest.fixture
def files(pipeline: Path) -> tuple[Path, Path]:
    """The pipeline's feed as two files."""
    feed, found = load(pipeline).feed, {"requests": b"", "outcomes": b""}
    for event in feed() if feed else ():
        key = msgspec.json.encode(event.key.decode())
        found[event.topic] += b'{"key": %s, "t": %d, "value": %s}\n' % (key, event.t_ms, event.value)
    for topic, text in found.items():
        (pipeline.parent / topic).write_bytes(text)
    return pipeline.parent / "requests", pipeline.parent / "outcomes"


def test_events_of_two_files_are_learned_and_what_cannot_be_is_said(pipeline: Path, files: tuple[Path, Path]) -> None:
    with files[1].open("a") as more:
        more.write("broken\n")
    said = list[str]()
    (strict := pipeline.parent / "strict.toml").write_text("alpha = 0.01\n")
    found = on_events(pipeline, Settings(), [strict], files, say=said.append)
    counts, made = found.events, Counter(one.topic for one in (load(pipeline).feed or list)())
    assert counts
    assert (counts.requests, counts.outcomes) == (made["requests"], made["outcomes"] + 1)
    assert counts.samples == made["outcomes"]
    assert counts.unlabelled == made["requests"] - made["outcomes"]
    assert counts.refused == 1
    assert "not JSON" in "".join(counts.why)
    ours, other = found.policies
    assert (ours.name, other.name) == ("pipeline", "strict")
    assert ours.total.count == other.total.count == counts.samples
    assert not found.otherwise
    assert not (pipeline.parent / ".shadowstream").exists()
    assert said[0] == f"{sum(made.values()) + 1:,} events"


def test_where_no_outcome_has_a_request_that_is_said(pipeline: Path, files: tuple[Path, Path]) -> None:
    requests = "".join(files[0].read_text().splitlines(keepends=True)[:3])
    files[0].write_text(requests.replace("id-", "other-") + "broken\n")
    files[1].write_text("".join(files[1].read_text().splitlines(keepends=True)[:3]))
    with pytest.raises(
        ConfigError, match=r"of 4 requests and 3 outcomes nothing can be learned.*; 1 refused: not JSON"
    ):
        on_events(pipeline, Settings(), [], files, say=lambda line: None)


def test_topics_hold_what_files_do(pipeline: Path, files: tuple[Path, Path], broker: Running) -> None:
    made = load(pipeline)
    settings = replace(Settings(), kafka=Broker(bootstrap=broker.address))
    with pytest.raises(ConfigError, match=r"has no topic 'files\.requests'"):
        of_topics(made, settings)
    ensure_topics(settings.kafka, {"files.requests": 1, "files.outcomes": 1})
    with closing(Sink(settings.kafka)) as sink:
        for event in made.feed() if made.feed else ():
            sink.send(Tp(f"files.{event.topic}", 0), key=event.key, value=event.value, t_ms=event.t_ms)
        sink.flush()
    there, here = of_topics(made, settings), of_files(made, settings, *files)
    assert there.partitions == here.partitions
    for one, other in zip(there.happened, here.happened, strict=True):
        assert one.t_ms == other.t_ms
        assert (one.record.topic, one.record.key) == (other.record.topic, other.record.key)
        assert msgspec.json.decode(one.record.value or b"") == msgspec.json.decode(other.record.value or b"")
