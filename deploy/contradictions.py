"""Settings that contradict one another: the one place that compares them, before anything is started or created.

Owns the table of what cannot go together, and the words of a refusal, which name every key and what would be right.
What a single key may be is said where the key is; which keys of a connection's security belong together, in
`streams/kafka/broker.py` and `streams/redis/address.py`. Does not know where the settings come from.
"""

from collections.abc import Callable, Iterator, Mapping
from itertools import combinations
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from deploy.config import Settings
from deploy.registry.storage.home import home, is_address
from streams.dead.letters import LEAST_TOPIC_BYTES
from streams.errors import ConfigError
from streams.join.fits import ID_BYTES
from streams.kafka.names import fault, same

DAY_S = 86_400
LEAST_SAMPLE_BYTES = 2_048  # of a topic of samples, requests or predictions: less has no room for an event beside an id


class Case(NamedTuple):
    """Settings to compare; `learns` says that a model learns (`run`).

    `replays` says that a recorded feed is replayed, `private` that updates are. `sync_ms` is Promotion's, None where
    the shadow's average never serves.
    """

    settings: Settings
    feed: str
    learns: bool = False
    replays: bool = False
    private: bool = False
    sync_ms: float | None = None

    def value(self, key: str) -> Any:
        """Return the value of `section.key`."""
        section, _, name = key.partition(".")
        return getattr(getattr(self.settings, section), name)

    def changed(self, key: str) -> bool:
        """Return whether a key has another value than its default."""
        return bool(self.value(key) != self._replace(settings=Settings()).value(key))

    @property
    def folder(self) -> Path:
        """The feed's folder on this machine, which `--fresh` empties."""
        return home(self.settings.registry.path, self.feed).folder


class Rule(NamedTuple):
    """Keys that contradict one another where `wrong`, and why, with what would be right."""

    keys: tuple[str, ...]
    wrong: Callable[[Case], bool]
    why: str


def _unused(key: str, to: str) -> Rule:
    """Return the rule of an output's setting that only one kind of output has."""
    name = f"output.{key}"
    return Rule(
        (name, "output.to"),
        lambda c: c.settings.output.to != to and c.changed(name),
        f"{name} needs output.to = {to!r}; elsewhere nothing reads it",
    )


RULES = [
    Rule(
        ("join.late",),
        lambda c: c.private and c.settings.join.late == "correct",
        "a correction is the same outcome learned twice, with a weight by others' outcomes, which Online.private does "
        "not count: set join.late = 'count'",
    ),
    Rule(
        ("join.late", "join.absent"),
        lambda c: c.settings.join.late == "correct" and c.settings.join.absent != "negative",
        "join.late = 'correct' needs join.absent = 'negative': there is nothing else to correct",
    ),
    Rule(
        ("join.late", "join.keep_s"),
        lambda c: c.settings.join.late == "correct" and c.settings.join.keep_s == 0,
        "an id is forgotten when its window closes, and no outcome after that can correct it: set join.keep_s to as "
        "long as outcomes may be late, or join.late = 'count'",
    ),
    Rule(
        ("join.reduce", "join.emit"),
        lambda c: c.settings.join.reduce != "first" and not c.settings.join.at_close,
        "several outcomes are reduced when the window closes: set join.emit = 'at_close', or join.reduce = 'first'",
    ),
    Rule(
        ("join.reduce", "join.most_outcomes"),
        lambda c: c.settings.join.reduce != "first" and c.settings.join.most_outcomes < 2,
        "of one outcome there is nothing to reduce: set join.most_outcomes to 2 or more, or join.reduce = 'first'",
    ),
    Rule(
        ("join.negative_label", "join.absent"),
        lambda c: c.changed("join.negative_label") and c.settings.join.absent != "negative",
        "only a window that closes without an outcome has that label: set join.absent = 'negative'",
    ),
    Rule(
        ("output.labels", "join.reduce"),
        lambda c: c.settings.output.labels == "number" and c.settings.join.reduce == "list",
        "a list is no number: set output.labels = 'json', or join.reduce to 'first', 'last' or 'sum'",
    ),
    _unused("topic", "topic"),
    *(_unused(key, "parquet") for key in ("path", "rows_per_file", "seconds_per_file")),
    Rule(
        ("output.rows_per_file", "join.stream_bound"),
        lambda c: c.settings.output.to == "parquet" and c.settings.output.rows_per_file > c.settings.join.stream_bound,
        "joiners would pause before a file is full, until output.seconds_per_file have passed: set "
        "join.stream_bound to at least output.rows_per_file",
    ),
    Rule(
        ("output.path", "registry.path"),
        lambda c: c.settings.output.to == "parquet" and Path(c.settings.output.path).resolve().is_relative_to(c.folder),
        "--fresh deletes the feed's folder in registry.path, and the samples with it: set output.path to another",
    ),
    Rule(
        ("learn.commit_samples", "join.stream_bound"),
        lambda c: c.learns and c.settings.learn.commit_samples > c.settings.join.stream_bound * c.settings.join.shards,
        "joiners would pause before a commit has its samples, until learn.commit_s have passed: set "
        "join.stream_bound to at least learn.commit_samples",
    ),
    Rule(
        ("join.reduce",),
        lambda c: c.learns and c.settings.join.reduce == "list",
        "it is for `shadowstream join` alone: the learner takes labels that are numbers. Set join.reduce to 'first', "
        "'last' or 'sum'",
    ),
    Rule(
        ("learn.commit_s",),
        lambda c: c.sync_ms is not None and c.settings.learn.commit_s * 1_000 > c.sync_ms,
        "the shadow's average leaves with a commit, and Promotion.sync_s would have it leave more often: set "
        "learn.commit_s to at most that, or Promotion.sync_s to at least this",
    ),
    Rule(
        ("learn.commit_s", "replay.stall_s"),
        lambda c: c.replays and c.settings.learn.commit_s >= c.settings.replay.stall_s,
        "a replay waits for the commit of each slice, and would end because nothing moves meanwhile: set "
        "replay.stall_s to several times learn.commit_s",
    ),
    Rule(
        ("replay.lead_s", "join.window_s"),
        lambda c: c.replays and c.settings.replay.lead_s > c.settings.join.window_s,
        "a slice's outcomes are published after all its requests, when windows of it have closed already: set "
        "replay.lead_s to at most join.window_s",
    ),
    Rule(
        ("kafka.security_protocol", "kafka.bootstrap"),
        lambda c: c.settings.kafka.bootstrap is None and c.changed("kafka.security_protocol"),
        "the embedded broker has no security: set kafka.bootstrap to the address of the broker that is meant",
    ),
    Rule(
        ("kafka.embedded", "kafka.bootstrap"),
        lambda c: c.settings.kafka.bootstrap is not None and c.changed("kafka.embedded"),
        "no broker is embedded where kafka.bootstrap names one, which keeps its log itself: set only one of the two",
    ),
    Rule(
        ("ray.insecure", "ray.address"),
        lambda c: c.settings.ray.insecure and c.settings.ray.cluster is None,
        "it is about a cluster that is given; a Ray of our own is on this machine alone: set ray.address, or take "
        "ray.insecure out",
    ),
    Rule(
        ("registry.keep_samples", "kafka.bootstrap"),
        lambda c: c.learns and c.settings.registry.keep_samples is not None and c.settings.kafka.bootstrap is None,
        "the embedded broker keeps all events, and a store that is lost would join those again whose samples were let "
        "go: set kafka.bootstrap to a broker that removes old events, or leave registry.keep_samples out",
    ),
    Rule(
        ("registry.shared", "registry.path"),
        lambda c: c.settings.registry.shared and is_address(c.settings.registry.path),
        "a bucket is the same for all nodes as it is: set registry.shared for a folder alone",
    ),
]


def check(
    settings: Settings, feed: str, *, learns: bool = False, replays: bool = False, private: bool = False,
    sync_ms: float | None = None,
) -> None:  # fmt: skip
    """Compare all settings of a feed; the others are those of a `Case`.

    Raises:
        ConfigError: some contradict one another, or Kafka has no topics of their names; the text has all keys.
    """
    case = Case(settings, feed, learns, replays, private, sync_ms)
    _check_topics(topics(case))
    for keys, wrong, why in RULES:
        if wrong(case):
            raise ConfigError(f"{_and(_shown(key, case.value(key)) for key in keys)}: {why}")


def check_limits(settings: Settings, feed: str, topics: Mapping[str, int | None], store_bytes: int | None) -> None:
    """Compare a feed's settings with what broker and store take, which only they know.

    `topics` maps those that are written to their max.message.bytes, the dead letters' among them; `store_bytes` is the
    store's largest message. None: not known.

    Raises:
        ConfigError: some contradict one another; the text has both.
    """
    kafka, join, dead = settings.kafka, settings.join, settings.topics.named(feed).dead
    for topic, limit in topics.items():
        least = LEAST_TOPIC_BYTES if topic == dead else LEAST_SAMPLE_BYTES
        if limit is not None and limit < least:
            raise ConfigError(f"topic {topic!r} has max.message.bytes = {limit}; a record of ours needs {least}")
        if limit is not None and topic != dead and (kafka.max_request_bytes or 0) > limit:
            raise ConfigError(
                f"{_shown('kafka.max_request_bytes', kafka.max_request_bytes)} and topic {topic!r} with "
                f"max.message.bytes = {limit}: the broker would refuse what we may send; set both to one value"
            )
    step_bytes = 2 * (join.batch_bytes + join.batch_events * ID_BYTES)
    if store_bytes is not None and store_bytes < step_bytes:
        raise ConfigError(
            f"join.batch_bytes = {join.batch_bytes} and join.batch_events = {join.batch_events}: a step of them may "
            f"have {step_bytes} bytes, and the store takes {store_bytes} at once; lower them, or raise its "
            "proto-max-bulk-len and client-query-buffer-limit"
        )


def check_joiners(settings: Settings, joined: int) -> None:
    """Compare the joiners with how many partitions the larger of the two joined topics has, or will have.

    Raises:
        ConfigError: some would have none; the text has both keys.
    """
    if settings.join.joiners > joined:
        raise ConfigError(
            f"join.joiners = {settings.join.joiners}, but predictions and outcomes have {joined} partitions at most, "
            "and each has one joiner; topics.partitions sets the number for new topics"
        )


def check_servers(settings: Settings, requests: int) -> None:
    """Compare the servers with how many partitions the topic of requests has, or will have.

    Raises:
        ConfigError: some would have none; the text has both keys.
    """
    if settings.serve.servers > requests:
        raise ConfigError(
            f"serve.servers = {settings.serve.servers}, but the topic of requests has {requests} partitions, and each "
            "has one server; topics.partitions sets the number for a new topic"
        )


def topics(case: Case) -> dict[str, str]:
    """Return the topics that a feed reads or writes, by the key that names them."""
    settings = case.settings
    named = settings.topics.named(case.feed)
    keys = ["requests"] * case.learns + ["predictions", "outcomes", "dead"]
    found = {f"topics.{key}": str(getattr(named, key)) for key in keys}
    if not case.learns and settings.output.to == "topic":
        found["output.topic"] = settings.output.named(case.feed)
    return found


def _check_topics(named: Mapping[str, str]) -> None:
    for key, name in named.items():
        if why := fault(name):
            braces = "; only {pipeline} stands for something, the feed's name" if "{" in name else ""
            raise ConfigError(f"{_shown(key, name)} is no name of a Kafka topic: {why}{braces}")
    for (key, name), (other_key, other) in combinations(named.items(), 2):
        if same(name, other):
            joined = (
                "one topic cannot be both" if name == other else "Kafka takes them for one, as '.' and '_' are alike"
            )
            raise ConfigError(f"{_and([_shown(key, name), _shown(other_key, other)])}: {joined}; name two topics")


def _shown(key: str, value: object) -> str:
    return f"{key} = {_text(value)}"


def _text(value: object) -> str:
    """Return a value as TOML has it, without a fraction that is none."""
    if isinstance(value, float):
        return f"{value:g}" if abs(value) < 1e6 else f"{value:.15g}"
    return "(not set)" if value is None else repr(msgspec.to_builtins(value))


def _and(parts: "list[str] | Iterator[str]") -> str:
    return " and ".join(parts)
