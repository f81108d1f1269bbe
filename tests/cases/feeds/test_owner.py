"""Whose a shard is: another cluster's feed of the same name, a second run of one feed, a topic made anew."""

import signal
import subprocess
import sys
from collections.abc import Callable

import pytest

from tests.cases import case
from tests.cases.join import NOW, Join
from tests.conftest import Running

EMBEDDED = pytest.mark.parametrize("broker", ["embedded"], indirect=True)
Starts = Callable[..., Join]


def staging(joining: Starts, name: str, production: Join) -> Join:
    """Start a feed of the same name on a broker of its own, but on production's store."""
    return joining(name, wait=False, SHADOWSTREAM_REDIS_URL=production.store, SHADOWSTREAM_KAFKA_BOOTSTRAP="")


def goes_on(production: Join, events: int) -> None:
    """Check that production reads what is published now, and nothing else."""
    production.publish(("predictions", {"id": f"after-{events}", "at": NOW}))
    assert production.settled(events + 1) == dict.fromkeys(("predictions", "opened", "waiting"), events + 1)
    assert production.process.poll() is None, production.said()


@case("streams/15", "outpost#680", "docling-jobkit#159")
@pytest.mark.parametrize("published", [0, 20])
def test_another_clusters_feed_of_the_same_name_is_refused(published: int, joining: Starts, kafka: Running) -> None:
    production = joining(name := f"c15-{published}", SHADOWSTREAM_KAFKA_BOOTSTRAP=kafka.address)
    production.publish(*(("predictions", {"id": f"i{n}", "at": NOW}) for n in range(published)))
    production.settled(published)
    second = staging(joining, name, production)
    assert second.ended() == 5, second.said()
    said = " ".join(second.said().split())
    assert f"feed '{name}' in this store belongs to another Kafka cluster: it joins the log of cluster '" in said
    assert "is of cluster 'tansu_cluster'; nothing was changed" in said
    goes_on(production, published)


@case("streams/15")
def test_two_embedded_brokers_of_one_name_of_cluster_are_told_apart(joining: Starts) -> None:
    production = joining("c15e")
    second = staging(joining, "c15e", production)
    assert second.ended() == 9, second.said()  # nothing was read yet: all that differs is who runs it
    production.publish(*(("predictions", {"id": f"i{n}", "at": NOW}) for n in range(20)))
    production.settled(20)
    second.start("--take-over", wait=False)
    assert second.ended() == 4, second.said()
    assert "the topic 'c15e.predictions' is gone: feed 'c15e' has read it" in " ".join(second.said().split())
    goes_on(production, 20)


def test_a_second_join_is_refused_and_changes_nothing(joining: Starts) -> None:
    first = joining("twice")
    addresses = first.folder / ".shadowstream" / "twice" / "embedded.json"
    before = addresses.read_bytes()
    for more in ((), ("--fresh",)):
        ended = subprocess.run(
            [sys.executable, "-m", "deploy.cli.main", "join", "feed.py", *more],
            cwd=first.folder, env=first.environment, capture_output=True, text=True, timeout=300, check=False,
        )  # fmt: skip
        assert ended.returncode == 9, ended.stderr
        assert f"'twice' is run by process {first.process.pid} on" in " ".join(ended.stderr.split())
    assert addresses.read_bytes() == before
    first.publish(("predictions", {"id": "a", "at": 1_700_000_000_000}))
    assert first.settled(1) == {"predictions": 1, "opened": 1, "waiting": 1}


@EMBEDDED
def test_a_join_is_taken_over_and_ends_in_order(joining: Starts, embedded_store_url: str, broker: Running) -> None:
    services = {"SHADOWSTREAM_REDIS_URL": embedded_store_url, "SHADOWSTREAM_KAFKA_BOOTSTRAP": broker.address}
    first = joining("taken", **services)
    second = joining("taken", wait=False, **services)
    assert second.ended() == 9
    assert "'taken' is run by process" in second.said().replace("\n", " ")
    second.start("--take-over")
    assert first.ended() == 9, first.said()
    assert "taken over by process" in first.said().replace("\n", " ")
    assert second.process.poll() is None
    second.publish(("predictions", {"id": "a", "at": 1_700_000_000_000}))
    assert second.settled(1)["predictions"] == 1


@EMBEDDED
def test_a_join_that_died_is_followed_at_once(joining: Starts, embedded_store_url: str, broker: Running) -> None:
    services = {"SHADOWSTREAM_REDIS_URL": embedded_store_url, "SHADOWSTREAM_KAFKA_BOOTSTRAP": broker.address}
    first = joining("dead", **services)
    first.process.send_signal(signal.SIGKILL)
    first.ended()
    first.start()
    assert first.process.poll() is None, first.said()
    assert "waiting to see" not in first.said()


def test_a_join_that_fails_after_its_services_started_leaves_no_addresses(joining: Starts) -> None:
    failing = joining("fails", '[output]\nto = "parquet"\npath = "feed.py"\n', wait=False)
    assert failing.ended() != 0
    assert "embedded store at" in failing.said()
    assert not (failing.folder / ".shadowstream" / "fails" / "embedded.json").exists()
    (failing.folder / "shadowstream.toml").write_text("")
    failing.start()
    assert failing.process.poll() is None, failing.said()
    assert failing.stop() == 130
    failing.start()
    assert failing.process.poll() is None, "nothing was read, so nothing is lost with the log"
    failing.publish(("predictions", {"id": "a", "at": 1_700_000_000_000}))
    failing.settled(1)
    failing.stop()
    failing.start()
    assert failing.ended() == 2
    assert "holds a feed whose log is gone" in failing.said().replace("\n", " ")
