"""The topics themselves: makes them, and asks for their partitions and settings.

Owns the admin client. Does not judge the settings: `retention.py` does.
"""

import contextlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any

from kafka import KafkaAdminClient
from kafka import errors as client
from kafka.admin import ConfigResource

from streams.errors import ShadowstreamError
from streams.kafka.broker import Broker, broker
from streams.kafka.connection import ANSWER_MS, settings
from streams.kafka.faults import Access, connecting, mapped
from streams.kafka.retention import TopicSettings

FOREVER = {"retention.ms": "-1", "retention.bytes": "-1"}


def ensure_topics(at: Broker | str, names: Mapping[str, int]) -> dict[str, int]:
    """Create the topics (name → partitions) that are not there, with unlimited retention; give how many each one has.

    Raises:
        BrokerUnreachable: nothing answers at the address.
        BrokerRefused: it lets us not in, or not create or see a topic.
    """
    access = Access(broker(at), "Create", names)
    with _admin(access) as admin:
        there = set(admin.list_topics())
        wanted = {
            name: {"num_partitions": n, "replication_factor": -1, "configs": FOREVER}
            for name, n in names.items()
            if name not in there
        }
        if wanted:
            with contextlib.suppress(client.TopicAlreadyExistsError):
                admin.create_topics(wanted, wait_for_metadata=True)
        with mapped(replace(access, operation="Describe")):
            return _counts(admin.describe_topics(list(names)))


def partition_counts(at: Broker | str, names: Iterable[str]) -> dict[str, int]:
    """Ask how many partitions each of these topics has, all of which are there."""
    names = list(names)
    with _admin(Access(broker(at), "Describe", names)) as admin:
        return _counts(admin.describe_topics(names))


def _counts(found: Iterable[Mapping[str, Any]]) -> dict[str, int]:
    counts = {}
    for topic in found:
        if topic["error_code"]:
            raise client.for_code(topic["error_code"])({topic["name"]})
        counts[topic["name"]] = len(topic["partitions"])
    return counts


def topic_settings(at: Broker | str, names: Iterable[str]) -> dict[str, TopicSettings]:
    """Ask what becomes of the records of these topics; what the broker does not tell is None."""
    return {name: _settings(told) for name, told in _described(broker(at), names).items()}


def limit_bytes(at: Broker, topic: str) -> int | None:
    """Ask for the largest record of a topic; None where the broker does not tell."""
    with contextlib.suppress(ShadowstreamError):
        return _number(_described(at, [topic])[topic].get("max.message.bytes"))
    return None


def _settings(told: Mapping[str, str]) -> TopicSettings:
    policy = told.get("cleanup.policy")
    return TopicSettings(
        retention_ms=_number(told.get("retention.ms")),
        retention_bytes=_number(told.get("retention.bytes")),
        compacted=None if policy is None else "compact" in policy,
        timestamps=told.get("message.timestamp.type"),
    )


def _described(at: Broker, names: Iterable[str]) -> dict[str, dict[str, str]]:
    names = list(names)
    with _admin(Access(at, "DescribeConfigs", names)) as admin:
        told = admin.describe_configs([ConfigResource("topic", name) for name in names], config_filter="all")
    topics = told.get("topic", {})
    return {name: {key: str(of["value"]) for key, of in topics.get(name, {}).items()} for name in names}


def _number(told: str | None) -> int | None:
    return None if told is None else int(told)


@contextlib.contextmanager
def _admin(access: Access) -> Iterator[Any]:
    with connecting(access):
        admin = KafkaAdminClient(**settings(access.broker), request_timeout_ms=ANSWER_MS)
    try:
        with mapped(access):
            yield admin
    finally:
        admin.close()
