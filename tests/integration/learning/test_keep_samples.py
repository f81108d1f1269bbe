"""`registry.keep_samples` beside what else is set, and beside a real broker: what of the log may go by it."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import pytest

from deploy import config
from deploy.operate.registry.gc import collect
from deploy.operate.registry.sign import opened
from deploy.pipeline import Pipeline
from deploy.registry.opening import sign
from deploy.run.keeping import NEVER_MS, check_retention, keeping
from learners.evaluation.gate import Promotion
from learners.labels.settings import Trust
from streams.errors import ConfigError
from streams.join.store import Store
from streams.kafka.retention import TopicSettings
from tests import small
from tests.conftest import Running
from tests.integration.join.joined import Feed, T
from tests.integration.learning.test_versions import Grown

ONLINE = replace(small.pipeline.online, replay=40)
PIPELINE = replace(small.pipeline, online=ONLINE)


def settings(samples: int | None, bootstrap: str | None = None, **topics: Any) -> config.Settings:
    """Return settings of which only these are given."""
    registry, kafka = (
        config.Registry(keep_samples=samples),
        msgspec.structs.replace(config.Kafka(), bootstrap=bootstrap),
    )
    return config.Settings(registry=registry, kafka=kafka, topics=config.Topics(**topics))


@pytest.mark.parametrize(
    ("pipeline", "least", "what"),
    [
        (PIPELINE, 40, "Online.replay"),
        (replace(PIPELINE, promotion=Promotion(policy="continuous")), 2_000, "an average's intercept"),
        (replace(PIPELINE, trust=Trust(source=lambda _: "ours")), 32_768, "Pipeline.trust"),
    ],
)
def test_fewer_than_something_needs_are_refused(pipeline: Pipeline, least: int, what: str) -> None:
    assert keeping(pipeline, settings(None)) is None
    kept = keeping(pipeline, settings(least))
    assert kept
    assert (kept.samples, kept.replay) == (least, 40)
    with pytest.raises(ConfigError, match=rf"keep_samples = {least - 1} is less than .*{what}.* at least {least}"):
        keeping(pipeline, settings(least - 1))


def test_the_oldest_event_is_looked_for_in_every_partition(broker: Running, store_server: Running) -> None:
    feed = Feed(broker, store_server, partitions=2)
    with feed.undo:
        topics = {"predictions": feed.topics[0], "outcomes": feed.topics[1]}
        kept = keeping(PIPELINE, settings(40, broker.address, **topics))
        assert kept
        assert kept.oldest_ms() == NEVER_MS
        feed.sink.send(feed.tps[0], key=None, value=b"no event", t_ms=T)
        feed.sink.flush()
        assert kept.oldest_ms() is None  # an older one than all that can be read
        feed.predict(9, 8)
        feed.report(6, 7)
        slack_ms = round(1_000 * config.Settings().join.slack_s)
        assert kept.oldest_ms() == T + 7 - slack_ms  # outcomes come a millisecond later


@pytest.mark.parametrize(
    ("of", "fine"),
    [
        (TopicSettings(retention_ms=-1, retention_bytes=-1), False),
        (TopicSettings(retention_ms=-1, retention_bytes=10**9), True),
        (TopicSettings(retention_ms=86_400_000), True),
        (TopicSettings(), True),
    ],
)
def test_topics_that_keep_all_are_refused(of: TopicSettings, *, fine: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("deploy.run.keeping.topic_settings", lambda _, names: dict.fromkeys(names, of))
    if fine:
        check_retention(settings(40), "ads")
        return
    with pytest.raises(ConfigError, match=r"keep_samples = 40 and topic 'ads.* with retention.ms = -1: .*leave"):
        check_retention(settings(40), "ads")


def test_the_command_says_what_stays(embedded_store: Store, first: Path, tmp_path: Path) -> None:
    feed = Grown(embedded_store, first, tmp_path, small.samples(120), part=20, every_days=2)
    sign(opened(feed.path, feed.settings))
    registry = msgspec.structs.replace(feed.settings.registry, keep_samples=500)
    found = collect(feed.path, msgspec.structs.replace(feed.settings, registry=registry), apply=True)
    assert found.letting
    assert found.letting.line == (
        "registry.keep_samples = 500: no sample was let go; no more are: the log has no more than 500 samples yet"
    )
