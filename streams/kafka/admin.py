"""The topics themselves: creates them, and asks for their partitions and settings.

Owns the admin client. Does not judge the settings: `retention.py` does.
"""

import contextlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any

from kafka import KafkaAdminClient
from kafka import errors as client
from kafka.admin import ConfigResource

from streams.errors import ConfigError, ShadowstreamError
from streams.kafka.broker import Broker, broker
from streams.kafka.connection import ANSWER_MS, settings
from streams.kafka.faults import Access, connecting, mapped
from streams.kafka.names import fault
from streams.kafka.retention import TopicSettings

FOREVER = {"retention.ms": "-1", "retention.bytes": "-1"}


def ensure_topics(at: Broker | str, names: Mapping[str, int]) -> dict[str, int]:
    """Create the topics (name → partitions) that do not exist, with unlimited retention; return each one's partitions.

    They take records of `max_request_bytes`, if that is set.

    Raises:
        ConfigError: Kafka has no topics of such a name, or takes it for that of a topic that exists.
        BrokerUnreachable: nothing answers at the address.
        BrokerRefused: it refuses the login, or to create or show a topic.
    """
    access = Access(broker(at), "Create", names)
    with administering(access) as admin:
        existing = set(admin.list_topics())
        largest = {"max.message.bytes": str(access.broker.max_request_bytes)} if access.broker.max_request_bytes else {}
        wanted = {
            name: {"num_partitions": n, "replication_factor": -1, "configs": FOREVER | largest}
            for name, n in names.items()
            if name not in existing
        }
        _check_names(wanted, existing)
        if wanted:
            with contextlib.suppress(client.TopicAlreadyExistsError):
                admin.create_topics(wanted, wait_for_metadata=True)
        with mapped(replace(access, operation="Describe")):
            return _counts(admin.describe_topics(list(names)))


def _check_names(wanted: Iterable[str], existing: Iterable[str]) -> None:
    others = {one.replace(".", "_"): one for one in existing}
    for name in wanted:
        if why := fault(name):
            raise ConfigError(f"topic {name!r}: {why}")
        if other := others.get(name.replace(".", "_")):
            raise ConfigError(
                f"topic {name!r} cannot be created beside {other!r}, which exists: Kafka takes '.' and '_' for one; "
                "choose another name for it"
            )


def partition_counts(at: Broker | str, names: Iterable[str]) -> dict[str, int]:
    """Ask how many partitions each of these topics has; all of them must exist."""
    names = list(names)
    with administering(Access(broker(at), "Describe", names)) as admin:
        return _counts(admin.describe_topics(names))


def _counts(topics: Iterable[Mapping[str, Any]]) -> dict[str, int]:
    counts = {}
    for topic in topics:
        if topic["error_code"]:
            raise client.for_code(topic["error_code"])({topic["name"]})
        counts[topic["name"]] = len(topic["partitions"])
    return counts


def topic_settings(at: Broker | str, names: Iterable[str]) -> dict[str, TopicSettings]:
    """Ask for the settings of these topics that matter to a join; one that the broker does not report is None."""
    return {name: _settings(values) for name, values in _described(broker(at), names).items()}


def least_in_sync(at: Broker, names: Iterable[str]) -> dict[str, int]:
    """Ask for the topics' min.insync.replicas; a topic of which the broker does not report it is left out."""
    numbers = {name: _number(values.get("min.insync.replicas")) for name, values in _described(at, names).items()}
    return {name: number for name, number in numbers.items() if number is not None}


def limit_bytes(at: Broker, topic: str) -> int | None:
    """Ask for the largest record that a topic takes; None where the broker does not report it."""
    with contextlib.suppress(ShadowstreamError):
        return _number(_described(at, [topic])[topic].get("max.message.bytes"))
    return None


def _settings(values: Mapping[str, str]) -> TopicSettings:
    policy = values.get("cleanup.policy")
    return TopicSettings(
        retention_ms=_number(values.get("retention.ms")),
        retention_bytes=_number(values.get("retention.bytes")),
        record_bytes=_number(values.get("max.message.bytes")),
        compacted=None if policy is None else "compact" in policy,
        timestamps=values.get("message.timestamp.type"),
    )


def _described(at: Broker, names: Iterable[str]) -> dict[str, dict[str, str]]:
    names = list(names)
    with administering(Access(at, "DescribeConfigs", names)) as admin:
        described = admin.describe_configs([ConfigResource("topic", name) for name in names], config_filter="all")
    topics = described.get("topic", {})
    return {name: {key: str(of["value"]) for key, of in topics.get(name, {}).items()} for name in names}


def _number(value: str | None) -> int | None:
    return None if value is None else int(value)


@contextlib.contextmanager
def administering(access: Access) -> Iterator[Any]:
    """Yield an admin client; its errors are raised as ours, and say what `access` is."""
    with connecting(access):
        admin = KafkaAdminClient(**settings(access.broker), request_timeout_ms=ANSWER_MS)
    try:
        with mapped(access):
            yield admin
    finally:
        admin.close()
