"""A user's feed.py: an error names the file, the line and what would be right; a pipeline.py is a feed as well."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from msgspec import Raw

from compressors.recipe import Quantize, Recipe
from deploy import feed as feeds
from deploy.feed import Feed
from learners.online.settings import Online
from streams.errors import ConfigError, MalformedEvent
from streams.events import Event, Prediction, Record, encode
from streams.readers import CHECKED, read_prediction
from tests import small

GOOD = """
from deploy.feed import Feed
from streams.events import Event
def read(record):
    return Event("a", 1, b"{}")
feed = Feed(name="clicks", prediction=read, outcome=read)
"""


def record(value: bytes) -> Record:
    return Record("t", 0, 0, 1, 1, b"a", value)


def test_a_feed_is_loaded(tmp_path: Path) -> None:
    (tmp_path / "feed.py").write_text(GOOD)
    feed = feeds.load(tmp_path / "feed.py")
    assert feed.name == "clicks"
    assert feed.prediction(record(b"")) == Event("a", 1, b"{}")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("import no_such_thing", "feed.py:1: ModuleNotFoundError"),
        ("x = 1", "needs a module-level `feed = Feed(...)`; there is no `feed`"),
        ("feed = 3", "is of type int"),
        (GOOD.replace("prediction=read", "prediction=3"), "feed.py:6: Feed.prediction must be callable, got 3"),
        (GOOD.replace("clicks", "my clicks"), "Feed.name must be letters, digits, '-' or '_', got 'my clicks'"),
        (GOOD.replace("clicks", "klické"), "Feed.name must be"),
        (GOOD.replace('"clicks"', "None"), "Feed.name must be"),
    ],
)
def test_a_feed_that_is_wrong(text: str, said: str, tmp_path: Path) -> None:
    (tmp_path / "feed.py").write_text(text)
    with pytest.raises(ConfigError) as wrong:
        feeds.load(tmp_path / "feed.py")
    assert said in str(wrong.value)


def test_a_file_that_is_not_there() -> None:
    with pytest.raises(ConfigError, match=r"no such file: nowhere\.py"):
        feeds.load(Path("nowhere.py"))


@pytest.mark.parametrize("without", [{"recipe": Recipe(Quantize("int8"))}, {"history": None}])
def test_a_pipeline_without_masks_cannot_refresh_them(without: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=r"refresh_every is 100, but the shadow has no masks to refresh"):
        replace(small.pipeline, online=Online(refresh_every=100), **without)


def test_a_pipeline_is_a_feed_of_predictions_and_labels_that_suit_its_task(tmp_path: Path) -> None:
    (tmp_path / "pipeline.py").write_text("from tests.small import feed, pipeline")
    feed = feeds.load(tmp_path / "pipeline.py")
    assert isinstance(feed, Feed)
    assert feed.name == small.pipeline.name
    asked = record(encode(Prediction("a", 5, 0, (0.0,), (0.0,), 0, Raw(b"{}"))))
    assert feed.prediction(asked) == read_prediction(asked)
    assert feed.outcome(record(b'{"label":1}')) == Event("a", 1, b"1.0")
    with pytest.raises(MalformedEvent):
        feed.outcome(record(b'{"label":7}'))


def test_the_join_does_not_parse_again_what_a_pipelines_readers_have_parsed() -> None:
    feed = small.pipeline.as_feed()
    assert all(getattr(reader, CHECKED) for reader in (feed.prediction, feed.outcome))
