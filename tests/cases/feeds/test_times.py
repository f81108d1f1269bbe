"""Times that cannot be right are said, and one bad clock does not stop a feed."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from typing import Any

import pytest
from kafka import KafkaAdminClient, KafkaProducer

from streams.join.store import Store
from tests.cases import case
from tests.cases.join import FEED, NOW, Join, until
from tests.conftest import Running

Joining = Callable[..., Join]
SHORT = '[join]\nabsent="negative"\nwindow_s=600\nkeep_s=3600\nidle_s=2\n'
START_S = NOW // 1_000 - 86_400 * 60
DAY_S, MINUTE_MS = 86_400, 60_000
LONG = pytest.mark.long  # the same join, with other words


def status(join: Join) -> dict[str, Any]:
    """Return what `shadowstream status --json` prints in the join's folder."""
    command = [sys.executable, "-m", "deploy.cli.main", "status", "feed.py", "--json"]
    done = subprocess.run(command, cwd=join.folder, env=os.environ, capture_output=True, check=True, timeout=300)
    return dict(json.loads(done.stdout.splitlines()[-1]))


def pairs(count: int, at: Callable[[int], Any], delay: Any, every: int = 1) -> list[tuple[str, dict[str, Any]]]:
    """Predictions at these times, each `every`th with an outcome so much later."""
    rows: list[tuple[str, dict[str, Any]]] = []
    for n in range(count):
        rows.append(("predictions", {"id": f"i{n}", "at": at(n)}))
        if n % every == every - 1:
            rows.append(("outcomes", {"id": f"i{n}", "at": at(n) + delay, "y": 1}))
    return rows


@case("streams/07", "kafka-connect-scylladb#29", "boom#266")
def test_seconds_that_are_read_as_milliseconds_are_said(joining: Joining) -> None:
    """25 outcomes two days late join in a window of ten minutes: at once, by topic, with an example and the setting."""
    join = joining("c07", SHORT)
    join.publish(*pairs(50, lambda n: START_S + n * 3_600, 2 * DAY_S, every=2))
    join.settled(75)
    until(lambda: join.said().count("warning:") == 2, join.said)
    looked = status(join)
    for topic, first, count in (("c07.predictions", START_S, 50), ("c07.outcomes", START_S + 3_600 + 2 * DAY_S, 25)):
        warning = next(one["text"] for one in looked["warnings"] if topic in one["about"])
        assert f"{topic}: all of the first {count} events lie in 1970" in warning
        assert f"field 'at', as {first}, is read as 1970-01-" in warning
        assert warning.endswith('set t_unit="s"')
        assert warning in join.said()
    with closing(Store(join.store)) as store:
        store.close_feed("c07", 0)
    assert join.ended() == 0
    assert 't_unit="s"' in join.said().partition("the feed has ended")[2]


@case("streams/07")
@pytest.mark.parametrize(
    ("times", "refused", "said"),
    [
        pytest.param(lambda n: (NOW + n) * 1_000, 20, "microseconds it would be 20", id="microseconds"),
        pytest.param(lambda n: (NOW + n) * 1_000_000, 20, 't_unit="ns"', id="nanoseconds", marks=LONG),
        pytest.param(lambda n: NOW // 86_400_000 - n, 0, "as days it would be 20", id="days", marks=LONG),
        pytest.param(lambda n: NOW + n if n % 2 else NOW // 1_000 + n, 0, "more than one unit", id="mixed"),
        pytest.param(lambda n: 5 + n, 0, "name the field that holds the event's time as t", id="a counter", marks=LONG),
        pytest.param(lambda n: NOW + 2 * 3_600_000 * (n + 2), 20, "join.max_ahead_s", id="ahead", marks=LONG),
    ],
)
def test_so_are_other_units_in_one_topic_alone(
    joining: Joining, times: Callable[[int], int], refused: int, said: str
) -> None:
    join = joining("units", SHORT)
    join.publish(
        *(("predictions", {"id": f"i{n}", "at": NOW + n}) for n in range(20)),
        *(("outcomes", {"id": f"i{n}", "at": times(n), "y": 1}) for n in range(20)),
    )
    join.settled(40)
    until(lambda: "warning:" in join.said(), join.said)
    assert len(join.letters()) == refused
    (warning,) = status(join)["warnings"]
    assert warning["about"].startswith("units.outcomes: ")
    assert said in warning["text"]


@case("streams/07")
def test_right_times_and_one_wrong_in_a_hundred_are_no_warning(joining: Joining) -> None:
    join = joining("right", SHORT)
    join.publish(*pairs(100, lambda n: NOW + n, 10), ("predictions", {"id": "odd", "at": 7}))
    join.settled(201)
    looked = status(join)
    assert looked["warnings"] == []
    assert "warning" not in join.said()


@case("streams/20", "ksql#2134", "kafka#2030")
def test_arrival_times_without_a_named_t_are_said_at_the_start(joining: Joining, kafka: Running) -> None:
    """Both topics are LogAppendTime: outcomes 50 minutes late would join in a window of 60 s."""
    arrival = {"message.timestamp.type": "LogAppendTime", "retention.ms": "-1"}
    with closing(KafkaAdminClient(bootstrap_servers=kafka.address)) as admin:
        for topic in ("c20.predictions", "c20.outcomes", "c20b.outcomes"):
            admin.create_topics({topic: {"num_partitions": 1, "replication_factor": 1, "configs": arrival}})
    where = {"SHADOWSTREAM_KAFKA_BOOTSTRAP": kafka.address}
    toml = '[join]\nabsent="negative"\nwindow_s=60\nkeep_s=600\nidle_s=1\n'
    join = joining("c20", toml, FEED.replace(', t="at"', ""), **where)
    said = "topics 'c20.predictions' and 'c20.outcomes' have message.timestamp.type=LogAppendTime"
    assert f"warning: {said}" in " ".join(join.said().split())
    with closing(KafkaProducer(bootstrap_servers=kafka.address)) as producer:
        for n in range(4):
            producer.send("c20.predictions", b'{"id":"i%d"}' % n, timestamp_ms=NOW)
            producer.send("c20.outcomes", b'{"id":"i%d","y":1}' % n, timestamp_ms=NOW + 3_000_000)
        producer.flush()
    join.settled(8)
    looked = subprocess.run(
        [sys.executable, "-m", "deploy.cli.main", "status", "feed.py", "--json"],
        cwd=join.folder, env=join.environment, capture_output=True, check=True, timeout=300,
    )  # fmt: skip
    (warning,) = json.loads(looked.stdout.splitlines()[-1])["warnings"]
    assert said in warning["text"]
    one = joining("c20b", toml, FEED.replace(', t="at"', ""), **where)
    assert "topic 'c20b.outcomes' has message.timestamp.type=LogAppendTime" in " ".join(one.said().split())
    named = joining("c20b", toml, FEED, **where)
    assert "LogAppendTime" not in named.said()


@case("streams/clock")
@pytest.mark.parametrize(
    ("ahead_of", "first"),
    [
        ("the store's clock", False),
        ("the others", True),
        pytest.param("the store's clock", True, marks=LONG),
        pytest.param("the others", False, marks=LONG),
    ],
)
def test_one_clock_that_is_58_minutes_ahead_stops_nobody(joining: Joining, ahead_of: str, first: bool) -> None:
    """Two records, one of each topic, used to make 1,089 predictions too late in a window of ten minutes."""
    now_ms = NOW + 3_600_000 if ahead_of == "the store's clock" else NOW
    join = joining("clock", "[join]\nwindow_s=600\nkeep_s=600\nidle_s=60\n")
    liars = [(kind, {"id": "liar", "at": now_ms + 58 * MINUTE_MS, "y": 1}) for kind in ("predictions", "outcomes")]
    start_ms = now_ms - 30 * MINUTE_MS
    good = pairs(1_100, lambda n: start_ms + n * 1_000, 5_000)
    cut = 0 if first else 20
    join.publish(*good[:cut], *liars, *good[cut:])
    counts = join.settled(2_202)
    assert counts["joined"] == 1_101
    assert not counts.keys() & {"prediction_too_late", "outcome_too_late", "late", "outcome_closed", "unlabelled"}


@case("streams/clock")
def test_nor_do_a_tenth_of_all_events_in_a_window_shorter_than_max_ahead_s(joining: Joining) -> None:
    join = joining("tenth", "[join]\nwindow_s=60\nkeep_s=60\nidle_s=60\n")
    rows = pairs(1_000, lambda n: NOW + n * 1_000, 30_000)
    for n in range(100):
        lie = {"id": f"liar{n}", "at": NOW + n * 10_000 + 58 * MINUTE_MS, "y": 0}
        rows.insert(n * 21, ("outcomes" if n % 2 else "predictions", lie))
    join.publish(*rows)
    counts = join.settled(2_100)
    assert counts["joined"] == 1_000
    assert not counts.keys() & {"prediction_too_late", "outcome_too_late", "late", "outcome_closed", "unlabelled"}


@case("streams/reasons")
def test_outcomes_after_their_window_are_said_with_their_delay_and_the_setting(joining: Joining) -> None:
    """A window of 3 days on outcomes after 6 days: "2,849 waiting" was all."""
    join = joining("late", f"[join]\nwindow_s={3 * DAY_S}\nkeep_s={9 * DAY_S}\nidle_s=60\n")
    join.publish(*pairs(200, lambda n: (START_S + n * 60) * 1_000, 6 * DAY_S * 1_000))
    join.settled(400)
    looked = status(join)
    assert looked["late"] + looked["outcome_closed"] == 200
    (late,) = [one for one in looked["advice"] if "came after their window" in one]
    assert late.startswith("200 outcomes came after their window")
    assert "6 days or more after their prediction, join.window_s is 3 days" in late
    assert f"raise join.window_s to {6 * DAY_S} (6 days) or more" in late


@case("streams/reasons", "streams/clock")
def test_a_partition_that_comes_back_too_late_is_named(joining: Joining) -> None:
    join = joining("behind", "[join]\nwindow_s=60\nkeep_s=60\nidle_s=1\n")
    at = [{"id": f"i{n}", "at": NOW + n * 60_000, "y": 1} for n in range(60)]
    join.publish(*(("predictions", one) for one in at))
    until(lambda: join.shard().watermark_ms > NOW + 50 * MINUTE_MS, join.said)
    join.publish(*(("outcomes", one) for one in at[:10]))
    join.settled(70)
    (line,) = [line for line in status(join)["advice"] if "too late and dropped" in line]
    assert "0 predictions and 10 outcomes were too late" in line
    assert "10 came from a partition that had been silent while others went on (behind.outcomes:0, whose newest" in line
    assert line.endswith("before the watermark): raise join.idle_s, or correct the clock that lags")
    join.publish(*(("outcomes", one) for one in at[50:]))
    join.settled(80)
    (line,) = [line for line in status(join)["advice"] if "too late and dropped" in line]
    assert "behind.outcomes" not in line, "it has caught up"


@case("streams/reasons")
def test_what_is_ahead_orphaned_or_too_late_is_counted_by_reason(joining: Joining) -> None:
    join = joining("why", "[join]\nwindow_s=60\nkeep_s=60\nidle_s=1\n")
    at = [{"id": f"i{n}", "at": NOW + n * 10_000} for n in range(100)]
    nobody = {"id": "nobody", "at": NOW, "y": 1}
    join.publish(("outcomes", nobody), *(("predictions", one) for one in at))
    join.publish(*(("outcomes", {**one, "y": 1}) for one in at))
    join.settled(201)
    join.publish(("predictions", {"id": "old", "at": NOW}), ("predictions", {"id": "soon", "at": NOW + 3 * 3_600_000}))
    join.settled(203)
    looked = status(join)
    assert (looked["ahead"], looked["rejected"]) == (1, 1)
    assert (looked["prediction_too_late"], looked["outcome_too_late"]) == (1, 0)
    assert any("1 predictions and 0 outcomes were too late" in line for line in looked["advice"])
    assert any("dated more than 60 minutes (join.max_ahead_s) after" in line for line in looked["advice"])
    with closing(Store(join.store)) as store:
        store.close_feed("why", 0)
    assert join.ended() == 0
    assert "1 orphans, 1 predictions too late, 1 dated ahead" in join.said()
    assert "1 outcomes had no prediction within 60 s (join.window_s), such as 'nobody'" in join.said()
