"""The operator's commands on a feed to which partitions were added: the end of the feed, and a loss in one of them."""

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from kafka import KafkaAdminClient, TopicPartition

from deploy.operate.join import actions as operate
from deploy.run.partitions import catch_up
from streams.errors import LostRange
from streams.kafka import Sink, Tp
from tests.conftest import Running
from tests.contract.brokers import needs
from tests.integration.join.operated import WHY, World, audited


@pytest.fixture
def world(broker: Running, embedded_store_url: str, tmp_path: Path) -> Iterator[World]:
    """A feed of which half has been joined, and then another partition of predictions."""
    needs(broker, "added partitions")
    made = World(tmp_path, broker.address, embedded_store_url, shards=2, idle_s=1e6)
    with made.undo:
        made.predict(*range(10))
        made.report(*range(20))
        made.join(30)
        with closing(KafkaAdminClient(bootstrap_servers=broker.address)) as admin:
            admin.create_partitions({made.prediction_tps[0].topic: 2})
        made.prediction_tps = [Tp(made.prediction_tps[0].topic, 1)]
        made.sink = made.undo.enter_context(closing(Sink(broker.address)))  # whose metadata are new
        made.predict(*range(10, 20))
        yield made


def test_the_end_of_the_feed_waits_for_a_partition_that_nobody_had_noticed(world: World) -> None:
    operate.end_feed(world.path, world.settings, why=WHY, ask=lambda _: True)
    assert world.prediction_tps[0] in world.attached.tps
    world.join(10)
    report = audited(world)
    assert (report["verdict"]["agreed"], world.count("joined")) == (20, 20)


def test_what_retention_took_of_an_added_partition_is_lost_and_not_skipped(world: World) -> None:
    tp = world.prediction_tps[0]
    with closing(KafkaAdminClient(bootstrap_servers=world.settings.kafka.bootstrap)) as admin:
        admin.delete_records({TopicPartition(*tp): 4})
    catch_up(world.name, world.settings, world.attached.store)
    with pytest.raises(LostRange, match="the next offset is 0, but the log starts at 4"):
        world.join(6)
    where = f"{tp.topic}:{tp.partition}"
    operate.accept_loss(world.path, world.settings, where, why=WHY, ask=lambda _: True, say=lambda _: None)
    world.join(6)
    report = audited(world)
    assert [part["lost"] for part in report["audit"]["partitions"] if part["tp"] == where] == [4]
    assert (report["verdict"]["differing"], world.count("joined")) == (0, 16)
