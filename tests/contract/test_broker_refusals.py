"""Records that a broker refuses, bytes that nobody can read, and a broker that dies during a write."""

import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest
from kafka import KafkaAdminClient, KafkaProducer
from kafka.admin import ConfigResource

from streams.errors import BrokerRefused, BrokerUnreachable, RecordTooLarge
from streams.kafka import Sink, Source, Tp, ensure_topics
from streams.kafka.broker import Broker
from tests.cases import case
from tests.conftest import Running
from tests.contract.brokers import T, drain, fresh, needs, values, write
from tests.services.kafka import Kafka

HANG_MS = 300_000


def configure(broker: Running, topic: str, **settings: str) -> None:
    with closing(KafkaAdminClient(bootstrap_servers=broker.address)) as admin:
        named = {name.replace("_", "."): value for name, value in settings.items()}
        admin.alter_configs([ConfigResource("topic", topic, named)])


@pytest.fixture
def sink(broker: Running) -> Iterator[Sink]:
    with closing(Sink(broker.address)) as made:
        yield made


def test_a_record_larger_than_the_client_sends_is_told_and_does_not_spoil_the_next(broker: Running, sink: Sink) -> None:
    (tp,) = fresh(broker)
    with pytest.raises(
        RecordTooLarge, match=rf"'{tp.topic}', key b'big': .* 2097259 bytes .*max_request_bytes \(1048576\)"
    ):
        sink.send(tp, key=b"big", value=bytes(1 << 21), t_ms=T)
    write(sink, tp, 1)


def test_a_record_larger_than_its_topic_takes_is_told_and_does_not_spoil_the_next(broker: Running, sink: Sink) -> None:
    needs(broker, "refusals")
    (tp,) = fresh(broker)
    configure(broker, tp.topic, max_message_bytes="1000")
    sink.send(tp, key=b"big", value=bytes(2_000), t_ms=T)
    with pytest.raises(RecordTooLarge, match=rf"'{tp.topic}', key b'big': .* max.message.bytes \(1000\)"):
        sink.flush()
    write(sink, tp, 1)


def test_more_than_a_topic_takes_at_once_is_written_in_parts(broker: Running, sink: Sink) -> None:
    needs(broker, "refusals")
    (tp,) = fresh(broker)
    configure(broker, tp.topic, max_message_bytes="1000")
    for n in range(100):
        sink.send(tp, key=b"k", value=b"%d" % n + bytes(200), t_ms=T)
    assert sink.flush() == {tp: 100}
    with closing(Source(broker.address, [tp])) as source:
        assert values(drain(source, 100)) == [b"%d" % n + bytes(200) for n in range(100)]
    for n in range(100):
        sink.send(tp, key=b"%d" % n, value=bytes(2_000 if n == 60 else 200), t_ms=T)
    with pytest.raises(RecordTooLarge, match="key b'60'"):
        sink.flush()


def test_a_partition_that_is_not_there_is_told(broker: Running, sink: Sink) -> None:
    (tp,) = fresh(broker)
    with pytest.raises(BrokerRefused, match=rf"'{tp.topic}' has no partition 7, only \[0\]"):
        sink.send(Tp(tp.topic, 7), key=None, value=b"v", t_ms=T)
    write(sink, tp, 1)


def test_the_broker_s_refusal_is_told_and_does_not_spoil_the_next(broker: Running, sink: Sink) -> None:
    needs(broker, "refusals")
    (tp,) = fresh(broker)
    configure(broker, tp.topic, cleanup_policy="compact")
    sink.send(tp, key=None, value=b"a compacted topic needs keys", t_ms=T)
    with pytest.raises(BrokerRefused, match="without key"):
        sink.flush()
    write(sink, tp, 1)


@pytest.mark.parametrize("codec", [None, "gzip"])
def test_a_batch_with_a_flipped_byte_is_a_rejected_range(broker: Running, codec: str | None) -> None:
    needs(broker, "files")
    (tp,) = fresh(broker)
    with closing(KafkaProducer(bootstrap_servers=broker.address, compression_type=codec, linger_ms=100)) as producer:
        for batch in ((0, 1), (2, 3, 4), (5,)):
            for n in batch:
                producer.send(tp.topic, b"v%d" % n, b"k%d" % n, partition=0)
            producer.flush()
    log = next(broker.folder.glob(f"**/{tp.topic}-0/*.log"))
    data = bytearray(log.read_bytes())
    first = 12 + int.from_bytes(data[8:12], "big")
    data[first + 70] ^= 1  # a batch's records begin at byte 61
    log.write_bytes(data)
    with closing(Source(broker.address, [tp])) as source:
        polls = drain(source, 6)
    assert values(polls) == [b"v0", b"v1", b"v5"]
    assert [(start, end) for polled in polls for start, end, _ in polled.rejected] == [(2, 5)]


@pytest.mark.long
def test_a_broker_killed_while_written_to_loses_and_doubles_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("streams.kafka.writing.sink.ANSWER_MS", HANG_MS)  # a broker may take long to start again
    tp = Tp("killed", 0)
    with closing(Kafka(tmp_path)) as own:
        ensure_topics(own.address, {"killed": 1})
        with closing(Sink(own.address)) as sink, ThreadPoolExecutor(1) as pool:
            write(sink, tp, 200)
            for n in range(200, 400):
                sink.send(tp, key=b"k", value=b"v%d" % n, t_ms=T)
            own.kill()  # it may have them or not, acknowledged or not
            restarted = pool.submit(own.start)
            sink.flush()
            restarted.result()
            write(sink, tp, 100, first=400)
        with closing(Source(own.address, [tp])) as source:
            assert values(drain(source, 500)) == [b"v%d" % n for n in range(500)]
            own.kill()
            with pytest.raises(BrokerUnreachable):
                source.ends()


@case("streams/09")
@pytest.mark.parametrize("ours", [None, 3_000_000])
def test_what_is_too_large_is_said_with_the_limit_that_it_exceeds(broker: Running, ours: int | None) -> None:
    """A record between two limits was "larger than 1048576 … limit is 1048588"."""
    needs(broker, "refusals")
    (tp,) = fresh(broker)
    with closing(Sink(Broker(bootstrap=broker.address, max_request_bytes=ours))) as sink:
        for value in (*range(1_048_400, 1_048_600, 20), 2_500_000):
            refused = None
            try:
                sink.send(tp, key=b"k", value=bytes(value), t_ms=T, headers=[("h", b"x" * 30)])
                sink.flush()
            except RecordTooLarge as wrong:
                refused = str(wrong)
            assert refused or value < 1_048_576
            said = r"a record of (\d+) bytes in all is larger than .*? \((\d+)\)"
            for size, limit in re.findall(said, refused or ""):
                assert int(size) > int(limit)
                assert f"raise it to {size}" in str(refused)
        sink.send(tp, key=b"k", value=b"v", t_ms=T)
        assert sink.flush()
