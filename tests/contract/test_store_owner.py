"""Whose log a shard joins, on every store: kept with it, adopted where it is not known yet, and refused otherwise."""

import pytest
from redis import Redis

from streams.errors import LogReplaced, StoreRefused, TopicGone
from streams.join.store import Store
from streams.kafka.topics import Owner
from tests.contract.stores import TPS, Stage, join, look

OURS = Owner("cluster-a", {"p": "id-p", "o": "id-o"})
THEIRS = Owner("cluster-b", {"p": "id-p", "o": "id-o"})


def create(stage: Stage, feed: str, owner: Owner, shards: int = 1) -> None:
    stage.store.create(feed, shards, TPS, owner=owner)


def test_another_clusters_feed_is_refused_and_nothing_changes(stage: Stage) -> None:
    feed = stage.feed(2)
    create(stage, feed, OURS, 2)
    before = [look(stage.store, feed, shard) for shard in range(2)]
    with pytest.raises(StoreRefused, match=r"another Kafka cluster: .*'cluster-a'.*'cluster-b'"):
        create(stage, feed, THEIRS, 2)
    with pytest.raises(StoreRefused, match="cluster-b"):
        stage.store.create(feed, 2, [*TPS, ("p", 1)], owner=THEIRS)
    with pytest.raises(StoreRefused, match="cluster-b"):
        stage.store.check_owner(feed, THEIRS)
    assert [look(stage.store, feed, shard) for shard in range(2)] == before
    stage.store.check_owner(feed, OURS)
    create(stage, feed, OURS, 2)


def test_a_feed_of_an_older_release_adopts_its_owner(stage: Stage) -> None:
    feed = stage.feed()
    state = join(stage.store, feed, 0, 3)
    stage.store.check_owner(feed, THEIRS)  # nothing is known yet
    create(stage, feed, OURS)
    assert look(stage.store, feed, 0) == state
    with pytest.raises(StoreRefused, match="cluster-a"):
        create(stage, feed, THEIRS)
    join(stage.store, feed, 0, 3)


def test_what_a_broker_does_not_report_is_not_compared(stage: Stage) -> None:
    feed = stage.feed()
    create(stage, feed, OURS)
    join(stage.store, feed, 0, 1)
    create(stage, feed, Owner(None, {}))
    create(stage, feed, Owner("cluster-a", {}))
    create(stage, feed, OURS)


@pytest.mark.parametrize("topic", ["p", "o"])
def test_a_topic_created_again_is_refused_only_where_it_was_read(topic: str, stage: Stage) -> None:
    feed = stage.feed()
    create(stage, feed, OURS)
    anew = Owner("cluster-a", OURS.topics | {topic: "id-new"})
    stage.store.check_owner(feed, anew)
    create(stage, feed, anew)
    create(stage, feed, OURS)
    join(stage.store, feed, 0, 1)
    with pytest.raises(LogReplaced, match=rf"the topic '{topic}' was deleted and created again.*id-{topic}.*id-new"):
        create(stage, feed, anew)
    with pytest.raises(LogReplaced, match="id-new"):
        stage.store.check_owner(feed, anew)
    create(stage, feed, OURS)


def test_a_topic_that_is_gone_is_refused_only_where_it_was_read(stage: Stage) -> None:
    feed, gone = stage.feed(), Owner("cluster-a", {"o": "id-o"}, ("p",))
    create(stage, feed, OURS)
    stage.store.check_owner(feed, gone)
    join(stage.store, feed, 0, 1)
    with pytest.raises(TopicGone, match=r"the topic 'p' is gone"):
        stage.store.check_owner(feed, gone)


def test_a_start_that_does_not_fit_leaves_no_owner(embedded_store: Store, embedded_redis: Redis) -> None:
    embedded_store.create("shapes", 1, TPS)
    with pytest.raises(StoreRefused, match="exists with"):
        embedded_store.create("shapes", 2, TPS, owner=OURS)
    assert embedded_redis.hget("{shapes.0}:m", "cluster") is None
