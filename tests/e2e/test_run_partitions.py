"""`shadowstream run` on topics with more partitions than the TOML file says, to which more are added while it runs."""

import random
import time
from contextlib import closing
from pathlib import Path

import msgspec
import pytest
from kafka import KafkaAdminClient

from deploy import config
from deploy.run.running import running
from deploy.run.session import Session
from streams.join.policy import JoinPolicy
from streams.kafka import Sink, Tp, ensure_topics
from tests.conftest import Running
from tests.contract.brokers import needs
from tests.small import Point

PIPELINE = """
from dataclasses import replace
from tests import small

pipeline = replace(small.pipeline, name="{name}")
"""
WAIT_S = 300.0  # against a hang alone
KINDS = ("requests", "predictions", "outcomes")


@pytest.mark.parametrize("broker", ["external"], indirect=True)
@pytest.mark.parametrize("store_server", ["embedded"], indirect=True)
def test_what_is_published_in_added_partitions_is_served_joined_and_learned(
    broker: Running, store_server: Running, tmp_path: Path
) -> None:
    needs(broker, "added partitions")
    topics = {kind: f"grown.{kind}" for kind in KINDS}
    ensure_topics(broker.address, dict.fromkeys(topics.values(), 2))
    (tmp_path / "pipeline.py").write_text(PIPELINE.format(name="grown"))
    settings = config.Settings(
        kafka=config.Kafka(bootstrap=broker.address),
        redis=config.Redis(url=store_server.address),
        registry=config.Registry(path=str(tmp_path)),
        join=JoinPolicy(joiners=2),
    )
    said: list[str] = []
    with running(tmp_path / "pipeline.py", settings, said.append, fresh=False) as session:
        counts = dict.fromkeys(KINDS, 2)
        publish(broker.address, topics, counts, range(200))
        learned(session, 200)
        counts = {"requests": 4, "predictions": 3, "outcomes": 5}
        with closing(KafkaAdminClient(bootstrap_servers=broker.address)) as admin:
            admin.create_partitions({topics[kind]: count for kind, count in counts.items()})
        publish(broker.address, topics, counts, range(200, 600))
        learned(session, 600)
        shards, total, equations = session.balance()
    assert all(equation.holds for equation in equations)
    assert (total.samples, total.doubled) == (600, 0)
    assert {tp: at.records > 0 for tp, at in shards[0].partitions.items()} == {
        f"grown.{kind}:{n}": True for kind in KINDS[1:] for n in range(counts[kind])
    }
    assert any("grown.requests has 4" in one for one in said)


def publish(bootstrap: str, topics: dict[str, str], counts: dict[str, int], numbers: range) -> None:
    """Publish requests and their outcomes, each in any partition."""
    chance = random.Random(numbers.start)
    t_ms = int(time.time() * 1_000)
    with closing(Sink(bootstrap)) as sink:
        for n in numbers:
            values = {"requests": msgspec.json.encode(Point((1.0, 2.0, n % 7, 4.0))), "outcomes": b'{"label":1}'}
            for kind, value in values.items():
                sink.send(Tp(topics[kind], chance.randrange(counts[kind])), key=b"id-%d" % n, value=value, t_ms=t_ms)
        sink.flush()


def learned(session: Session, count: int) -> None:
    """Let it run until so many samples are learned and committed."""
    deadline = time.monotonic() + WAIT_S
    for view in session.live():
        if session.balance().learned.samples >= count:
            return
        assert time.monotonic() < deadline, view
