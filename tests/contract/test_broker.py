"""What every broker must do: records, offsets, ends, groups, topics. `brokers.CANNOT` lists the exceptions."""

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import pytest
from kafka import KafkaAdminClient, KafkaProducer, TopicPartition

from streams.errors import BrokerUnreachable, LogReplaced, LostRange
from streams.kafka import Sink, Source, Tp, crc, ensure_topics, partition_counts, topic_settings
from streams.kafka.reading.positions import Positions
from tests.conftest import Running
from tests.contract.brokers import T, drain, fresh, needs, values, write

HANG_S = 300.0
Y1970_MS, Y2100_MS = 0, 4_102_444_800_000


@pytest.fixture
def sink(broker: Running) -> Iterator[Sink]:
    with closing(Sink(broker.address)) as made:
        yield made


@pytest.fixture
def admin(broker: Running) -> Iterator[KafkaAdminClient]:
    with closing(KafkaAdminClient(bootstrap_servers=broker.address)) as made:
        yield made


def test_records_come_back_with_positions_and_event_times(broker: Running, sink: Sink) -> None:
    tps = fresh(broker, 2)
    with closing(Source(broker.address, tps)) as source:
        before_ms = int(time.time() * 1_000)
        sink.send(tps[0], key=b"a", value=b"1", t_ms=T, headers=[("more", b"x")])
        sink.send(tps[0], key=None, value=b"2", t_ms=T + 1)
        assert sink.flush() == {tps[0]: 2}
        write(sink, tps[1], 3)
        by_tp = {p.tp: p for p in drain(source, 5)}
        assert [(p.start, p.end, p.rejected) for p in by_tp.values()] == [(0, 2, []), (0, 3, [])]
        a, b = by_tp[tps[0]].records
        assert (a.key, a.value, a.t_ms, dict(a.headers)["more"]) == (b"a", b"1", T, b"x")
        assert (b.key, b.value, b.t_ms) == (None, b"2", T + 1)
        assert before_ms <= a.timestamp_ms <= time.time() * 1_000
        assert (source.starts()[tps[1]], source.ends()[tps[1]], source.position(tps[1])) == (0, 3, 3)


def test_a_source_seeks_pauses_and_knows_its_end(broker: Running, sink: Sink) -> None:
    tps = fresh(broker, 2)
    with closing(Source(broker.address, tps)) as source:
        write(sink, tps[0], 5)
        write(sink, tps[1], 5)
        source.seek(tps[0], 3)
        source.pause([tps[1]])
        assert [(p.tp, p.start, p.end) for p in drain(source, 2)] == [(tps[0], 3, 5)]
        assert source.at_end(tps[0])
        assert not source.at_end(tps[1])
        source.resume([tps[1]])
        assert [r.offset for p in drain(source, 5) for r in p.records] == [0, 1, 2, 3, 4]
        source.seek(tps[0], 4)
        assert source.read(tps[0], 4) == drain(source, 1)[0].records[0]
        assert source.read(tps[0], 5) is None


def test_offsets_are_committed_for_a_group_without_joining_it(broker: Running, sink: Sink) -> None:
    tps = fresh(broker)
    group = tps[0].topic
    with closing(Positions(broker.address, group, [group])) as positions:
        assert positions.committed(tps) == {}
        positions.commit_now({tps[0]: 3})
        assert positions.committed(tps) == {tps[0]: 3}
        positions.commit({tps[0]: 4})
        deadline = time.monotonic() + HANG_S
        while positions.committed(tps) != {tps[0]: 4}:
            assert time.monotonic() < deadline


def test_the_end_is_asked_for_again_after_a_moment(broker: Running, sink: Sink) -> None:
    (tp,) = fresh(broker)
    with closing(Source(broker.address, [tp])) as source:
        assert source.at_end(tp)
        write(sink, tp, 1)
        assert not source.at_end(tp, time.monotonic())


def test_a_source_reads_other_partitions_each_from_its_offset(broker: Running, sink: Sink) -> None:
    tps = fresh(broker, 3)
    for tp in tps:
        write(sink, tp, 5)
    with closing(Source(broker.address, tps[:2])) as source:
        drain(source, 10)
        source.assign({})
        assert source.poll(0, 10) == []
        source.assign({tps[0]: 3, tps[2]: 1})
        assert sorted((p.tp, p.end) for p in drain(source, 6)) == [(tps[0], 5), (tps[2], 5)]
        assert source.at_end(tps[2])


@pytest.mark.parametrize("codec", [None, "gzip", "snappy", "lz4", "zstd"])
def test_every_codec_is_read(broker: Running, codec: str | None) -> None:
    tps = fresh(broker)
    with closing(KafkaProducer(bootstrap_servers=broker.address, compression_type=codec)) as producer:
        producer.send(tps[0].topic, b"x" * 1_000, b"k", partition=0).get(HANG_S)
    with closing(Source(broker.address, tps)) as source:
        assert values(drain(source, 1)) == [b"x" * 1_000]


@pytest.mark.parametrize("t_ms", [Y1970_MS, Y2100_MS])
def test_event_times_far_from_now_are_kept(broker: Running, sink: Sink, t_ms: int) -> None:
    tps = fresh(broker)
    sink.send(tps[0], key=b"k", value=b"v", t_ms=t_ms)
    sink.flush()
    with closing(Source(broker.address, tps)) as source:
        assert [record.t_ms for record in drain(source, 1)[0].records] == [t_ms]


def test_a_record_of_another_s_making_has_its_timestamp_for_event_time(broker: Running) -> None:
    tps = fresh(broker)
    with closing(KafkaProducer(bootstrap_servers=broker.address)) as producer:
        producer.send(tps[0].topic, b"v", b"k", partition=0, timestamp_ms=Y1970_MS).get(HANG_S)
    with closing(Source(broker.address, tps)) as source:
        assert [record.t_ms for record in drain(source, 1)[0].records] == [Y1970_MS]


def test_a_position_that_retention_took_is_a_lost_range(broker: Running, sink: Sink, admin: KafkaAdminClient) -> None:
    needs(broker, "delete records")
    (tp,) = fresh(broker)
    write(sink, tp, 6)
    admin.delete_records({TopicPartition(*tp): 4})
    with closing(Source(broker.address, [tp])) as source:
        source.seek(tp, 3)
        with pytest.raises(LostRange, match="next offset is 3, but the log starts at 4"):
            drain(source, 1)
        assert source.read(tp, 3) is None
        source.seek(tp, 4)
        assert values(drain(source, 2)) == [b"v4", b"v5"]


def test_a_position_behind_the_end_is_a_replaced_log(broker: Running, sink: Sink) -> None:
    needs(broker, "out of range")
    (tp,) = fresh(broker)
    write(sink, tp, 6)
    with closing(Source(broker.address, [tp])) as source:
        source.seek(tp, 7)
        with pytest.raises(LogReplaced, match="the next offset is 7, but the log ends at 6"):
            drain(source, 1)


@pytest.mark.parametrize("refilled", [2, 9])
def test_a_topic_deleted_and_refilled_is_recognised(
    broker: Running, sink: Sink, admin: KafkaAdminClient, refilled: int
) -> None:
    """A shorter log is recognised by its end, a longer one by the checksum of the record last read."""
    (tp,) = fresh(broker)
    write(sink, tp, 5)
    with closing(Source(broker.address, [tp])) as source:
        drain(source, 5)
        last = source.read(tp, 4)
    refill(broker, admin, tp, refilled)
    with closing(Source(broker.address, [tp])) as source:
        source.seek(tp, 5)
        if refilled < 5:
            with pytest.raises(LogReplaced):
                source.at_end(tp)
        else:
            now = source.read(tp, 4)
            assert last is not None
            assert now is not None
            assert (now.key, now.value) == (last.key, last.value)
            assert crc(now) != crc(last)


def refill(broker: Running, admin: KafkaAdminClient, tp: Tp, count: int) -> None:
    admin.delete_topics([tp.topic])
    while tp.topic in admin.list_topics():
        time.sleep(0.05)
    ensure_topics(broker.address, {tp.topic: 1})
    with closing(Sink(broker.address)) as sink:
        write(sink, tp, count)


def test_topics_are_made_once_and_keep_their_partitions(broker: Running) -> None:
    (a, _) = fresh(broker, 2)
    assert ensure_topics(broker.address, {a.topic: 3, f"{a.topic}-new": 3}) == {a.topic: 2, f"{a.topic}-new": 3}
    assert partition_counts(broker.address, [a.topic, f"{a.topic}-new"]) == {a.topic: 2, f"{a.topic}-new": 3}


def test_added_partitions_are_told_and_can_be_read(broker: Running, sink: Sink, admin: KafkaAdminClient) -> None:
    needs(broker, "added partitions")
    (tp,) = fresh(broker)
    with closing(Source(broker.address, [tp])) as before:
        admin.create_partitions({tp.topic: 2})
        assert partition_counts(broker.address, [tp.topic]) == ensure_topics(broker.address, {tp.topic: 1})
        assert partition_counts(broker.address, [tp.topic]) == {tp.topic: 2}
        write(sink, tp, 1)
        write(sink, Tp(tp.topic, 1), 1)
        assert [polled.tp for polled in drain(before, 1)] == [tp]
    with closing(Source(broker.address, [tp, Tp(tp.topic, 1)])) as after:
        assert {polled.tp for polled in drain(after, 2)} == set(after.tps)


def test_settings_of_a_topic_are_told_where_the_broker_does(broker: Running) -> None:
    (tp,) = fresh(broker)
    settings = topic_settings(broker.address, [tp.topic])[tp.topic]
    assert (settings.retention_ms, settings.retention_bytes) == (-1, -1)
    expected = (None, None) if broker.kind == "embedded" else (False, "CreateTime")
    assert (settings.compacted, settings.timestamps) == expected


def test_nobody_there_is_said_with_the_address() -> None:
    makes = (Sink, lambda at: Source(at, []), lambda at: ensure_topics(at, {"a": 1}))
    with ThreadPoolExecutor() as pool:
        for made in [pool.submit(make, "127.0.0.1:1") for make in makes]:
            with pytest.raises(BrokerUnreachable, match=r"127\.0\.0\.1:1"):
                made.result()
