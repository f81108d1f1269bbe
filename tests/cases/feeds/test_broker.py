"""What a broker holds back is said: an open transaction, a deleted topic, an address that leads nowhere."""

import json
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from kafka import KafkaAdminClient, KafkaProducer

from streams.kafka import ensure_topics
from streams.kafka.broker import Broker
from streams.kafka.held import held
from streams.kafka.records import Tp
from tests.cases import case
from tests.cases.join import NOW, Join, until
from tests.conftest import Running
from tests.services.kafka import Kafka, free_ports

Starts = Callable[..., Join]
CLOSING = '[join]\nwindow_s=60\nkeep_s=600\nidle_s=2\nabsent="negative"\n'


def transaction(address: str) -> KafkaProducer:
    producer = KafkaProducer(
        bootstrap_servers=address, transactional_id="other-team", transaction_timeout_ms=600_000, acks="all",
        enable_idempotence=True,
    )  # fmt: skip
    producer.init_transactions()
    producer.begin_transaction()
    return producer


def status(join: Join) -> tuple[str, Any]:
    """Return what `shadowstream status` shows and its JSON."""
    command = [sys.executable, "-m", "deploy.cli.main", "status", "feed.py", "--json"]
    done = subprocess.run(command, cwd=join.folder, env=join.environment, check=True, timeout=300, capture_output=True)
    return done.stderr.decode(), json.loads(done.stdout.splitlines()[-1])


@case("streams/11", "klag-exporter#104", "kafka-flow#857")
def test_an_open_transaction_is_said_and_its_end_too(joining: Starts, kafka: Running) -> None:
    join = joining("c11", CLOSING, SHADOWSTREAM_KAFKA_BOOTSTRAP=kafka.address)
    join.publish(*(("predictions", {"id": f"a{n}", "at": NOW}) for n in range(10)))
    with closing(transaction(kafka.address)) as producer:
        producer.send("c11.predictions", b'{"id":"open","at":%d}' % NOW).get(60)
        join.publish(*(("predictions", {"id": f"b{n}", "at": NOW + 200_000}) for n in range(10)))
        until(lambda: "is held by an open transaction at offset 10 (since 20" in join.said(), join.said)
        assert "c11.predictions/0 is held by an open transaction at offset 10" in join.said()
        assert "transactional id 'other-team', producer id " in join.said()
        assert "abort --topic c11.predictions --partition 0 --start-offset 10" in join.said()
        shown, looked = status(join)
        (line,) = looked["held"]
        assert line.startswith("partition c11.predictions/0 is held by an open transaction at offset 10 (since 20")
        assert f"warning: {line}" in shown
        command = [sys.executable, "-m", "deploy.cli.main", "end-of-feed", "feed.py", "--why", "a test", "--yes"]
        subprocess.run(command, cwd=join.folder, env=join.environment, check=True, timeout=300, capture_output=True)
        producer.abort_transaction()
    assert join.ended() == 0, join.said()
    assert "the feed has ended" in join.said()


PIPELINE = """
import torch
from shadowstream import Pipeline

def encode(rows):
    return (torch.tensor([[row["x"]] for row in rows]),)

def model():
    return torch.nn.Sequential(torch.nn.Linear(1, 16), torch.nn.ReLU(), torch.nn.Linear(16, 1))

pipeline = Pipeline(name="{name}", features=dict[str, float], encode=encode, model=model)
"""


def test_a_run_says_what_holds_its_requests_and_that_their_topic_is_deleted(joining: Starts, kafka: Running) -> None:
    run = joining("r11", feed=PIPELINE, command="run", SHADOWSTREAM_KAFKA_BOOTSTRAP=kafka.address)
    with closing(transaction(kafka.address)) as producer:
        producer.send("r11.requests", b'{"x":1}', key=b"a").get(60)
        until(lambda: "--topic r11.requests --partition 0 --start-offset 0\n" in run.said(), run.said)
        shown, looked = status(run)
        while not looked["held"]:  # a busy broker may be silent; pytest's time limit is against a hang
            shown, looked = status(run)
        (line,) = looked["held"]
        assert line.startswith("partition r11.requests/0 is held by an open transaction at offset 0 (since 20")
        assert f"warning: {line}" in " ".join(shown.replace("│", " ").split())
        assert f"warning: {line}\n" in run.said(), "a line of any width is one line, where its command can be copied"
        producer.commit_transaction()
    until(lambda: f"over: {line}\n" in run.said(), run.said)
    with closing(KafkaAdminClient(bootstrap_servers=kafka.address)) as admin:
        admin.delete_topics(["r11.requests"])
    assert run.ended() == 4, run.said()
    assert "the topic r11.requests is gone: it was deleted while feed 'r11' used it" in run.said()


def test_a_transaction_that_is_short_is_no_news(kafka: Running) -> None:
    ensure_topics(kafka.address, {"short": 2})
    at, tps = Broker(bootstrap=kafka.address), [Tp("short", 0), Tp("short", 1)]
    with closing(transaction(kafka.address)) as producer:
        producer.send("short", b"x", partition=1).get(60)
        (found,) = held(at, tps)
        assert (found.topic, found.partition, found.offset, found.end, found.name) == ("short", 1, 0, 1, "other-team")
        producer.commit_transaction()
        until(lambda: not held(at, tps))


@case("streams/13", "kafka-go#1071", "confluent-kafka-python#1907")
@pytest.mark.parametrize("topic", ["predictions", "outcomes"])
def test_a_joined_topic_that_is_deleted_ends_the_join(topic: str, joining: Starts, kafka: Running) -> None:
    join = joining(f"c13{topic}", "[join]\nidle_s=1\n", SHADOWSTREAM_KAFKA_BOOTSTRAP=kafka.address)
    join.publish(*((topic, {"id": f"i{n}", "at": NOW, "y": 1}) for n in range(20)))
    join.settled(20)
    with closing(KafkaAdminClient(bootstrap_servers=kafka.address)) as admin:
        admin.delete_topics([f"c13{topic}.{topic}"])
    for again in (False, True):
        if again:
            join.start()
        assert join.ended() == 4, join.said()
        assert f"c13{topic}.{topic}' is gone" in join.said() or f"c13{topic}.{topic} is gone" in join.said()
        assert "KeyError" not in join.said()


def test_a_topic_of_dead_letters_that_is_deleted_is_created_again(joining: Starts, kafka: Running) -> None:
    join = joining("c13d", "[join]\nidle_s=1\n", SHADOWSTREAM_KAFKA_BOOTSTRAP=kafka.address)
    with closing(KafkaAdminClient(bootstrap_servers=kafka.address)) as admin:
        admin.delete_topics(["c13d.dead"])
    until(lambda: "c13d.dead of the dead letters was deleted; it is created again" in join.said(), join.said)
    join.publish(("predictions", b"not JSON"))
    until(lambda: len(join.letters()) == 1, join.said)


@case("streams/12", "kafka-python#2008", "kafka-python#2156", "kafka-python#1324")
@pytest.mark.parametrize("host", ["kafka.invalid", "127.0.0.1"])
def test_an_advertised_address_that_leads_nowhere_is_named(host: str, joining: Starts, tmp_path: Path) -> None:
    own, there = free_ports(2)
    listener, shown = f"EXTERNAL://127.0.0.1:{own}", f"EXTERNAL://{host}:{there}"
    protocols = "listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT,EXTERNAL:PLAINTEXT"
    with closing(Kafka(tmp_path, [protocols], [listener], [shown])):
        join = joining("c12", wait=False, SHADOWSTREAM_KAFKA_BOOTSTRAP=f"127.0.0.1:{own}")
        assert join.ended() == 3, join.said()
    said = " ".join(join.said().split())
    assert f"127.0.0.1:{own} answers, and sends its clients on to {host}:{there}, which does not" in said
    assert "advertised.listeners" in said


def test_too_few_replicas_in_sync_are_said(joining: Starts, kafka: Running) -> None:
    with closing(KafkaAdminClient(bootstrap_servers=kafka.address)) as admin:
        one = {"num_partitions": 1, "replication_factor": 1}
        admin.create_topics({"isr.dead": one | {"configs": {"min.insync.replicas": "2"}}})
    join = joining("isr", SHADOWSTREAM_KAFKA_BOOTSTRAP=kafka.address)
    said = "isr.dead has 1 replicas in sync, less than its min.insync.replicas (2): it takes no record"
    until(lambda: said in join.said(), join.said)
