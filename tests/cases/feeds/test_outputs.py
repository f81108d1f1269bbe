"""What an output cannot take, and settings that contradict one another: streams 09 and 14, and their siblings."""

import json
import math
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pyarrow.dataset as ds
import pytest
from kafka import KafkaAdminClient
from kafka.admin import ConfigResource

from streams.dead import refusals
from streams.kafka import Source, Tp, ensure_topics
from streams.kafka.reading.scan import records
from tests.cases import case
from tests.cases.join import NOW, Join, until
from tests.conftest import Running

PARQUET = '[output]\nto = "parquet"\nseconds_per_file = 0.2\nrows_per_file = 100\n'
ANY_BODY = """
from shadowstream import Event, Feed, fields
def outcome(record):
    return Event(record.key.decode(), record.t_ms, record.value)
feed = Feed(name="{name}", prediction=fields(id="id", t="at"), outcome=outcome)
"""
LABELS = {  # the body of an outcome, and whether labels of numbers, and labels of any JSON, may be so
    b"1": (True, True),
    b"-2.5e3": (True, True),
    b" 7 ": (True, True),
    b"9007199254740992": (True, True),
    b"9007199254740993": (False, True),  # no double is this number
    b"1" + b"0" * 22: (True, True),  # a double is this one
    b"1" * 23: (False, True),
    b"1e999": (False, False),
    b"NaN": (False, False),
    b"Infinity": (False, False),
    b"true": (False, True),
    b"null": (False, True),
    b'"n/a"': (False, True),
    b'"1"': (False, True),
    b"[1, 2]": (False, True),
    b'{"a": {"b": [null]}}': (False, True),
    b"[" * 400 + b"]" * 400: (False, False),
    b"1 2": (False, False),
    b"01": (False, False),
    b"": (False, False),
    b'"\xff"': (False, False),
    b"n/a": (False, False),
}
Joining = Callable[..., Join]


def rows(join: Join) -> list[dict[str, Any]]:
    """Read all files of a join together, as pyarrow does."""
    files = [str(path) for path in (join.folder / "samples").rglob("*.parquet")]
    return list(ds.dataset(files, format="parquet").to_table().to_pylist()) if files else []


def pair(name: str, label: Any) -> list[tuple[str, Any]]:
    return [("predictions", {"id": name, "at": NOW}), ("outcomes", {"id": name, "at": NOW + 5, "y": label})]


@case("streams/09", "seatunnel#10306")
def test_one_text_label_among_numbers_is_a_dead_letter_at_each_start(
    joining: Joining, broker: Running, embedded_store_url: str
) -> None:
    where = {"SHADOWSTREAM_KAFKA_BOOTSTRAP": broker.address, "SHADOWSTREAM_REDIS_URL": embedded_store_url}
    join = joining(f"c09{broker.kind}", PARQUET, **where)
    join.publish(*(row for n in range(300) for row in pair(f"i{n}", "n/a" if n == 150 else 1)))
    until(lambda: len(rows(join)) == 299, join.said)
    (reason,) = join.letters()
    assert reason == "output.labels = 'number' needs labels that are numbers, not \"n/a\""
    for n in range(2):
        assert join.stop() not in (1, 2), join.said()
        join.start()
        join.publish(*pair(f"more{n}", 0), *pair(f"text{n}", "none"))
        until(lambda n=n: len(rows(join)) == 300 + n, join.said)  # type: ignore[misc]
    assert len(join.letters()) == 3
    assert {row["label"] for row in rows(join)} == {0.0, 1.0}


@case("streams/09", "seatunnel#10306")
def test_files_of_any_labels_are_read_together_and_never_beside_files_of_numbers(joining: Joining) -> None:
    join = joining("c09json", PARQUET + 'labels = "json"\n')
    join.publish(*(row for n in range(300) for row in pair(f"i{n}", "n/a" if n == 150 else n)))
    until(lambda: len(rows(join)) == 300, join.said)
    assert not join.letters()
    assert {row["id"]: json.loads(row["label"]) for row in rows(join)} == {
        f"i{n}": "n/a" if n == 150 else n for n in range(300)
    }
    other = joining("c09json", f'[output]\nto = "parquet"\npath = "{join.folder / "samples"}"\n', wait=False)
    assert other.ended() == 2
    for part in ("output.labels = 'number'", "output.path", "'json'"):
        assert part in other.said()


@case("streams/09", "seatunnel#10306")
@pytest.mark.parametrize(
    ("to", "labels"),
    [
        ("stream", "number"),
        ("topic", "json"),
        ("parquet", "number"),
        pytest.param("stream", "json", marks=pytest.mark.long),
        pytest.param("topic", "number", marks=pytest.mark.long),
        pytest.param("parquet", "json", marks=pytest.mark.long),
    ],
)
def test_every_kind_of_label_is_taken_or_refused_by_every_output_alike(to: str, labels: str, joining: Joining) -> None:
    settings = PARQUET if to == "parquet" else f'[output]\nto = "{to}"\n'
    join = joining("kinds", f'{settings}labels = "{labels}"\n', ANY_BODY)
    taken = [body for body, fits in LABELS.items() if fits[labels == "json"]]
    join.publish(
        *(("predictions", {"id": f"i{n}", "at": NOW}) for n in range(len(LABELS))),
        *(("outcomes", body, b"i%d" % n) for n, body in enumerate(LABELS)),
    )
    counts = join.settled(2 * len(LABELS))
    assert counts["joined"] == len(taken), join.letters()
    letters = join.letters()
    assert len(letters) == len(LABELS) - len(taken)
    assert all("label" in reason or "UTF-8" in reason for reason in letters), letters
    if to == "parquet":
        until(lambda: len(rows(join)) == len(taken), join.said)
        found = [float(row["label"]) if labels == "number" else json.loads(row["label"]) for row in rows(join)]
    elif to == "stream":
        found = [sample["label"] for sample in join.samples()]
    else:
        until(lambda: len(published(join)) == len(taken), join.said)
        found = [sample["label"] for sample in published(join)]
    wanted = [json.loads(body) for body in taken]
    assert sorted(map(str, found)) == sorted(
        str(float(one) if to + labels == "parquetnumber" else one) for one in wanted
    )
    assert all(math.isfinite(one) for one in found if isinstance(one, float))


def published(join: Join) -> list[dict[str, Any]]:
    with closing(Source(join.broker, [Tp(f"{join.name}.samples", 0)])) as source:
        return [json.loads(record.value or b"") for record in records(source)]


@case("streams/09")
def test_a_sample_that_would_be_too_large_is_refused_where_its_parts_are_read(joining: Joining) -> None:
    limit, names = 4_000, ("plain", "é" * 40, '"' * 60)
    toml = f'[kafka]\nmax_request_bytes = {limit}\n[output]\nto = "topic"\nlabels = "json"\n'
    join = joining("large", toml)
    sizes = [(f"{name}{n}", n) for name in names for n in range(100, limit, 100)]
    join.publish(
        *(("predictions", {"id": one, "at": NOW, "x": "x" * n}) for one, n in sizes),
        *(("outcomes", {"id": one, "at": NOW, "y": "y" * n}) for one, n in sizes),
    )
    counts = join.settled(2 * len(sizes))
    refused = [reason for reason in join.letters() if "prediction of" in reason or "label of" in reason]
    assert len(refused) == 2 * len(sizes) - counts["predictions"] - counts["outcomes"] > 0
    until(lambda: len(published(join)) == counts["joined"], join.said)
    assert {one["id"].rstrip("0123456789") for one in published(join)} == set(names)
    assert join.process.poll() is None, join.said()


@case("streams/09")
def test_a_topic_s_own_limit_bounds_samples_letters_and_what_may_be_sent(kafka: Running, joining: Joining) -> None:
    names = {f"small.{kind}": 1 for kind in ("samples", "dead", "predictions", "outcomes")}
    ensure_topics(kafka.address, names)
    with closing(KafkaAdminClient(bootstrap_servers=kafka.address)) as admin:
        for topic, limit in (("small.samples", 3_000), ("small.dead", 2_048)):
            admin.alter_configs([ConfigResource("topic", topic, configs={"max.message.bytes": str(limit)})])
    refused = joining(
        "small", '[kafka]\nmax_request_bytes = 9000\n[output]\nto = "topic"\n', wait=False,
        SHADOWSTREAM_KAFKA_BOOTSTRAP=kafka.address,
    )  # fmt: skip
    assert refused.ended() == 2
    assert "kafka.max_request_bytes = 9000 and topic 'small.samples' with max.message.bytes = 3000" in refused.said()
    join = joining("small", '[output]\nto = "topic"\n', SHADOWSTREAM_KAFKA_BOOTSTRAP=kafka.address)
    for n in range(100, 4_000, 100):
        join.publish(
            ("predictions", {"id": f"i{n}", "at": NOW, "x": "x" * n}), ("outcomes", {"id": f"i{n}", "at": NOW, "y": 1})
        )
    join.publish(("outcomes", b"no JSON, " * 50_000, b"k" * 50_000))
    counts = join.settled(2 * 39 + 1)
    assert 0 < counts["joined"] == counts["predictions"] < 39
    until(lambda: len(published(join)) == counts["joined"], join.said)
    assert len(join.letters()) == 39 - counts["predictions"] + 1


@case("streams/14", "logstash#7833")
def test_dead_letters_into_a_joined_topic_are_refused_with_both_keys(tmp_path: Path) -> None:
    said = refused(tmp_path, '[topics]\ndead = "c14.outcomes"\n')
    assert "topics.outcomes = 'c14.outcomes' and topics.dead = 'c14.outcomes'" in said
    assert "topics.dead = 'c14_outcomes': Kafka takes" in refused(tmp_path, '[topics]\ndead = "c14_outcomes"\n')


@case("streams/14")
@pytest.mark.parametrize(
    ("name", "why"), [("a b", "' '"), ("a" * 250, "250 characters"), ("{pipline}.d", "{pipeline}")]
)
def test_a_name_that_is_no_topic_s_is_refused_before_anything_is_created(name: str, why: str, tmp_path: Path) -> None:
    said = refused(tmp_path, f'[topics]\ndead = "{name}"\n')
    assert f"topics.dead = '{name}'" in said
    assert why in said
    assert not (tmp_path / ".shadowstream").exists()


def refused(folder: Path, toml: str) -> str:
    """Return what a join says that refuses its settings: one line."""
    (folder / "feed.py").write_text(ANY_BODY.replace("{name}", "c14"))
    (folder / "shadowstream.toml").write_text(toml)
    command = [sys.executable, "-m", "deploy.cli.main", "join", "feed.py"]
    ended = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=300, check=False)
    assert ended.returncode == 2, ended.stderr
    assert ended.stderr.count("\n") == 1, ended.stderr
    return ended.stderr


MOODY = """
import json
from shadowstream import Event, Feed, MalformedEvent
def read_any(record):
    row = json.loads(record.value)
    if "why" in row:
        raise MalformedEvent("it is " + row["why"])
    return Event(row["id"], row["at"], b"1")
feed = Feed(name="{name}", prediction=read_any, outcome=read_any)
"""


@case("streams/14", "logstash#7833")
def test_so_does_one_of_many_reasons_over_restarts(joining: Joining, broker: Running, embedded_store_url: str) -> None:
    """More kinds of reasons than are held apart, in letters, held and summed up; each position is in one of these."""
    where = {"SHADOWSTREAM_KAFKA_BOOTSTRAP": broker.address, "SHADOWSTREAM_REDIS_URL": embedded_store_url}
    join = joining(f"moody{broker.kind}", "[dead]\nmost_per_minute = 10\n", MOODY, **where)
    tp, bad = Tp(f"{join.name}.dead", 0), 0
    for turn in range(3):
        words = ["".join(chr(97 + (n + turn) % 26) * 3) for n in range(26)]
        join.publish(*(("outcomes", {"why": words[n % 26]}) for n in range(700)), *pair(f"i{turn}", 1))
        bad += 700
        assert join.settled(bad + 2 * (turn + 1))["joined"] == turn + 1
        if turn < 2:
            assert join.stop() not in (1, 2), join.said()
            join.start()

    def refused() -> dict[str, Any]:
        with closing(Source(join.broker, [tp])) as source:
            return dict(refusals(records(source)))

    until(lambda: sum(one.positions for one in refused().values()) >= bad, join.said)
    offsets = [offset for one in refused().values() for offset in one.letter.covers]
    assert len(offsets) == len(set(offsets)) == bad
    assert all(one.letter.reason.startswith(("it is ", "other reasons")) for one in refused().values())


@case("streams/14", "logstash#7833")
def test_a_flood_of_bad_records_makes_few_letters_and_none_is_lost(joining: Joining) -> None:
    bad, good = 20_000, 100
    join = joining("flood", "[dead]\nmost_per_minute = 100\n")
    sent: list[Any] = [("outcomes", b"no JSON %d" % n) for n in range(bad)]
    for n in range(good):
        sent[n * 200 : n * 200] = pair(f"i{n}", 1)
    join.publish(*sent)
    counts = join.settled(bad + 2 * good)
    assert counts["joined"] == good
    assert sum(at.rejected for at in join.shard().partitions.values()) == bad
    tp = Tp("flood.dead", 0)

    def letters() -> dict[str, Any]:
        with closing(Source(join.broker, [tp])) as source:
            return dict(refusals(records(source)))

    until(lambda: sum(one.positions for one in letters().values()) == bad, join.said)
    with closing(Source(join.broker, [tp])) as source:
        assert 100 < len(list(records(source))) <= 300
    summed = [one.letter for one in letters().values() if one.letter.offsets]
    assert all(one.reason.startswith("not JSON: JSON is malformed") for one in summed)
