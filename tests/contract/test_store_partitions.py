"""Partitions added to a feed, on every store: once, at the start of their log, with the watermark of the moment."""

import pytest
from msgspec.structs import replace

from streams.errors import StoreRefused, StoreWentBack
from streams.join.step import RECENT, Move, PartitionState, Step
from tests.contract.stores import RULES, TPS, Stage, T, join, look

MORE = [*TPS, ("p", 1), ("o", 1), ("o", 2)]


def test_partitions_are_added_once_to_every_shard_and_nothing_else_changes(stage: Stage) -> None:
    feed = stage.feed(2)
    before = [join(stage.store, feed, shard, 3) for shard in range(2)]
    stage.store.add(feed, 2, MORE[:3])
    stage.store.add(feed, 2, MORE)
    stage.store.add(feed, 2, MORE)
    assert stage.store.partitions(feed) == sorted(MORE)
    for shard, was in enumerate(before):
        added = {f"{topic}:{n}": PartitionState(-1, 0, -1, 0, 0, since_ms=T) for topic, n in MORE[2:]}
        now = look(stage.store, feed, shard)
        assert now == replace(was, chain=now.chain, partitions={**was.partitions, **added})
        assert now.chain != was.chain
    stage.store.add(feed, 2, MORE)
    assert look(stage.store, feed, 1) == now
    assert join(stage.store, feed, 0, 2).watermark_ms == T


def test_an_added_partition_holds_the_watermark_until_it_is_heard(stage: Stage) -> None:
    feed = stage.feed()
    join(stage.store, feed, 0, 3)
    stage.store.add(feed, 1, MORE[:3])
    moves = [
        Move("p:0", 3, 4, t_ms=T + 900, recent=[T + 900] * RECENT),
        Move("o:0", 3, 4, t_ms=T + 900, recent=[T + 900] * RECENT),
    ]
    assert stage.store.step(feed, 0, Step("a", RULES, moves)).watermark_ms == T
    heard = stage.store.step(feed, 0, Step("b", RULES, [Move("p:1", 0, 1, t_ms=T + 500, recent=[T + 500] * RECENT)]))
    assert heard.watermark_ms == T + 500
    assert heard.partitions["p:1"].since_ms == T


def test_a_start_with_more_partitions_adds_them_and_one_with_fewer_is_refused(stage: Stage) -> None:
    feed = stage.feed(2)
    stage.store.create(feed, 2, MORE, {("p", 1): 40})
    assert stage.store.shard(feed, 1).partitions["p:1"].next == 0, "what came before the join knew of it counts"
    with pytest.raises(StoreRefused, match=r"partitions that its topics do not have: o:1, o:2, p:1; a topic was"):
        stage.store.create(feed, 2, TPS)


def test_a_feed_that_is_not_there_gets_no_partitions_and_a_store_that_went_back_is_worth_a_retry(stage: Stage) -> None:
    feed = stage.feed()
    with pytest.raises(StoreRefused, match="MISSING"):
        stage.store.add(f"{feed}none", 1, MORE)
    with pytest.raises(StoreWentBack, match="UNKNOWN partition p:1"):
        stage.store.step(feed, 0, Step("a", RULES, [Move("p:1", 0, 1)]))
