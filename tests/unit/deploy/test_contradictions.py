"""Settings that contradict one another: every rule of the table by an example, and every pair of topics."""

import re
from collections.abc import Mapping
from itertools import combinations
from pathlib import Path
from typing import Any

import msgspec
import pytest

from deploy.config import KEYS, SECTIONS, Settings
from deploy.contradictions import RULES, Rule, check, check_joiners, check_limits, check_servers
from deploy.feed import Feed
from streams.errors import ConfigError
from streams.readers import read_prediction
from tests.cases import case

RUN = {"learns": True}
PARQUET = {"output.to": "parquet"}
EXAMPLES: dict[tuple[str, ...], tuple[dict[str, Any], dict[str, Any]]] = {  # keys: what is wrong, what mends it
    ("join.late",): (
        RUN | {"private": True, "join.late": "correct", "join.absent": "negative", "join.keep_s": 86_400.0},
        {"join.late": "count"},
    ),
    ("join.late", "join.absent"): ({"join.late": "correct"}, {"join.absent": "negative"}),
    ("join.late", "join.keep_s"): (
        {"join.late": "correct", "join.absent": "negative", "join.keep_s": 0.0}, {"join.keep_s": 1.0}
    ),
    ("learn.commit_s",): (RUN | {"sync_ms": 5_000.0, "learn.commit_s": 5.5}, {"learn.commit_s": 5.0}),
    ("learn.commit_s", "replay.stall_s"): (
        RUN | {"replays": True, "learn.commit_s": 120.0}, {"replay.stall_s": 600.0}
    ),
    ("replay.lead_s", "join.window_s"): (
        RUN | {"replays": True, "join.window_s": 3_599.0}, {"replay.lead_s": 600.0}
    ),
    ("join.reduce", "join.emit"): ({"join.reduce": "sum"}, {"join.emit": "at_close"}),
    ("join.reduce", "join.most_outcomes"): (
        {"join.reduce": "last", "join.emit": "at_close", "join.most_outcomes": 1}, {"join.most_outcomes": 2}
    ),
    ("join.negative_label", "join.absent"): ({"join.negative_label": -1.0}, {"join.absent": "negative"}),
    ("output.labels", "join.reduce"): (
        {"join.reduce": "list", "join.emit": "at_close", "output.labels": "number"}, {"output.labels": "json"}
    ),
    ("output.topic", "output.to"): ({"output.topic": "s"}, {"output.to": "topic"}),
    ("output.path", "output.to"): ({"output.path": "s"}, PARQUET),
    ("output.rows_per_file", "output.to"): ({"output.rows_per_file": 5}, PARQUET),
    ("output.seconds_per_file", "output.to"): ({"output.seconds_per_file": 5.0}, PARQUET),
    ("output.rows_per_file", "join.stream_bound"): (
        PARQUET | {"output.rows_per_file": 20, "join.stream_bound": 10}, {"join.stream_bound": 20}
    ),
    ("output.path", "registry.path"): (PARQUET | {"output.path": ".shadowstream/ads/samples"}, {"registry.path": "r"}),
    ("learn.commit_samples", "join.stream_bound"): (
        RUN | {"learn.commit_samples": 20, "join.stream_bound": 10}, {"join.shards": 2}
    ),
    ("join.reduce",): (
        RUN | {"join.reduce": "list", "join.emit": "at_close"}, {"join.reduce": "sum"}
    ),
    ("kafka.security_protocol", "kafka.bootstrap"): (
        {"kafka.security_protocol": "SSL"}, {"kafka.bootstrap": "a:1"}
    ),
    ("kafka.embedded", "kafka.bootstrap"): (
        {"kafka.embedded": "durable", "kafka.bootstrap": "a:1"}, {"kafka.embedded": "memory"}
    ),
    ("ray.insecure", "ray.address"): ({"ray.insecure": True}, {"ray.address": "a:1"}),
    ("registry.keep_samples", "kafka.bootstrap"): (
        RUN | {"registry.keep_samples": 50_000}, {"kafka.bootstrap": "a:1"}
    ),
    ("registry.shared", "registry.path"): (
        {"registry.shared": True, "registry.path": "s3://bucket/a"}, {"registry.path": "r"}
    ),
}  # fmt: skip


def compare(values: Mapping[str, Any], feed: str = "ads") -> None:
    """Compare settings of these values, by `section.key`; what has no section is an argument of `check`."""
    sections: dict[str, dict[str, Any]] = {section: {} for section in SECTIONS}
    others: dict[str, Any] = {}
    for key, value in values.items():
        section, _, name = key.rpartition(".")
        (sections[section] if section else others)[name] = value
    made = {section: kind(**sections[section]) for section, kind in SECTIONS.items()}
    check(msgspec.structs.replace(Settings(), **made), feed, **others)


def refusal(values: Mapping[str, Any]) -> str:
    with pytest.raises(ConfigError) as raised:
        compare(values)
    return str(raised.value)


def test_the_defaults_contradict_nothing_and_each_rule_has_an_example() -> None:
    compare({})
    compare(RUN)
    assert {rule.keys for rule in RULES} == set(EXAMPLES)
    known = {f"{section}.{key}" for section, keys in KEYS.items() for key in keys}
    assert {key for rule in RULES for key in rule.keys} <= known


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: " ".join(rule.keys))
def test_what_cannot_go_together_is_refused_with_every_key_its_value_and_what_would_be_right(rule: Rule) -> None:
    wrong, mended = EXAMPLES[rule.keys]
    said = refusal(wrong)
    for key in rule.keys:
        assert f"{key} = " in said
    assert re.search(r"\b(set|needs|make|Make|Set)\b", said), said
    assert "\n" not in said
    compare(wrong | mended)


TOPICS = ["topics.requests", "topics.predictions", "topics.outcomes", "topics.dead"]


@case("streams/14", "logstash#7833")
@pytest.mark.parametrize(("one", "other"), [*combinations([*TOPICS, "output.topic"], 2)])
def test_any_two_topics_that_are_one_are_refused(one: str, other: str) -> None:
    if {one, other} == {"topics.requests", "output.topic"}:
        pytest.skip("a run writes no such output, and a join reads no requests")
    more: dict[str, Any] = {"output.to": "topic"} if other == "output.topic" else RUN
    used = {one: "same", other: "same"}
    assert f"{one} = 'same' and {other} = 'same'" in refusal(more | used)
    assert "'.' and '_' are alike" in refusal(more | used | {one: "a.b", other: "a_b"})
    default = {
        "topics.requests": "ads.requests",
        "topics.predictions": "ads.predictions",
        "output.topic": "ads.samples",
    }
    default |= {"topics.outcomes": "ads.outcomes", "topics.dead": "ads.dead"}
    assert f"{one} = '{default[one]}' and {other} = '{default[one]}'" in refusal(more | {other: default[one]})


@case("streams/14")
@pytest.mark.parametrize("key", [*TOPICS, "output.topic"])
@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("a b", "' '"), ("ü", "'ü'"), ("a/b", "'/'"), ("a:0", "':'"), ("a" * 250, "250 characters"), ("..", "folders"),
        (".", "folders"), ("__consumer_offsets", "Kafka's own"), ("{pipline}.dead", "only {pipeline} stands"),
        ("a\0", r"'\x00'"), ("a\n", r"'\n'"), ("{pipeline}" * 90, "270 characters"), ("a,b", "','"), ("*", "'*'"),
    ],
)  # fmt: skip
def test_what_is_no_topic_s_name_is_refused(key: str, name: str, why: str) -> None:
    said = refusal({key: name} | ({"output.to": "topic"} if key == "output.topic" else RUN))
    assert f"{key} = " in said
    assert why in said


@pytest.mark.parametrize("name", ["a" * 249, "A.b_c-9", "...", "_"])
def test_what_kafka_takes_is_taken(name: str) -> None:
    compare({"topics.dead": name})


@case("streams/14")
def test_a_feed_s_name_is_short_enough_for_folders_topics_and_transactional_ids() -> None:
    compare({}, Feed(name="a" * 200, prediction=read_prediction, outcome=read_prediction).name)
    for name in ("a" * 201, "a.b", "a/b", "", "..", "ü", "a\n"):
        with pytest.raises(ConfigError, match=r"Feed\.name"):
            Feed(name=name, prediction=read_prediction, outcome=read_prediction)


def limits(values: Mapping[str, Any], topic: int | None = None, store: int | None = None) -> str:
    kafka = SECTIONS["kafka"](**{k: v for k, v in values.items() if k == "max_request_bytes"})
    join = SECTIONS["join"](**{k: v for k, v in values.items() if k != "max_request_bytes"})
    settings = msgspec.structs.replace(Settings(), kafka=kafka, join=join)
    try:
        check_limits(settings, "ads", {"ads.samples": topic, "ads.dead": topic}, store)
    except ConfigError as wrong:
        return str(wrong)
    return ""


def test_what_broker_and_store_take_is_compared_too() -> None:
    assert not limits({}, topic=1_048_588, store=512 << 20)
    assert not limits({}, topic=50_000)
    assert not limits({"max_request_bytes": 1_048_588}, topic=1_048_588)
    said = limits({"max_request_bytes": 5_000_000}, topic=1_048_588)
    assert "kafka.max_request_bytes = 5000000 and topic 'ads.samples' with max.message.bytes = 1048588" in said
    assert "max.message.bytes = 300; a record of ours needs 2048" in limits({}, topic=300)
    for key in ("join.batch_bytes = ", "join.batch_events = ", "takes 1048576 at once", "proto-max-bulk-len"):
        assert key in limits({}, store=1 << 20)


def test_what_only_a_replay_waits_for_stands_in_no_run_s_way() -> None:
    compare(RUN | {"learn.commit_s": 1_000.0, "replay.lead_s": 1e6})


def test_more_joiners_than_partitions_are_refused_with_both_keys() -> None:
    join = SECTIONS["join"](joiners=3)
    check_joiners(msgspec.structs.replace(Settings(), join=join), 3)
    with pytest.raises(ConfigError, match=r"join\.joiners = 3, .* have 2 partitions at most.*topics\.partitions"):
        check_joiners(msgspec.structs.replace(Settings(), join=join), 2)


def test_more_servers_than_partitions_of_requests_are_refused_with_both_keys() -> None:
    settings = msgspec.structs.replace(Settings(), serve=SECTIONS["serve"](servers=3))
    check_servers(settings, 3)
    with pytest.raises(ConfigError, match=r"serve\.servers = 3, .* requests has 2 partitions.*topics\.partitions"):
        check_servers(settings, 2)


def test_the_folder_of_the_feed_may_lie_beside_the_samples(tmp_path: Path) -> None:
    compare(PARQUET | {"output.path": str(tmp_path), "registry.path": str(tmp_path)})
    assert "--fresh" in refusal(PARQUET | {"output.path": str(tmp_path / "ads"), "registry.path": str(tmp_path)})
