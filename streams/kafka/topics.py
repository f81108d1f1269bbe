"""What a broker says of topics now: their partitions, ids, leaders and replicas, and the cluster that they are in.

Owns the questions, and what the answers are called. Does not judge them, nor knows what the topics are for.
"""

from collections.abc import Iterable
from typing import Any, NamedTuple

from streams.kafka.admin import administering
from streams.kafka.broker import Broker
from streams.kafka.faults import Access

UNKNOWN_TOPIC = 3  # Kafka's number of UNKNOWN_TOPIC_OR_PARTITION
NO_LEADER = -1


class Topic(NamedTuple):
    """A topic: its number of partitions, its id, the partitions without a leader, and the fewest replicas in sync.

    A topic that is created again has another id; None where the broker is too old to have any (Kafka before 2.8).
    """

    partitions: int
    id: str | None
    leaderless: tuple[int, ...]
    in_sync: int


class Owner(NamedTuple):
    """Whose log it is: the cluster's id, and each topic's; what the broker does not report is left out.

    `gone` are the topics that do not exist.
    """

    cluster: str | None
    topics: dict[str, str]
    gone: tuple[str, ...] = ()


def owner(at: Broker, names: Iterable[str]) -> Owner:
    """Ask which cluster answers, and for the ids of these topics."""
    with administering(Access(at, "Describe", names := list(names))) as admin:
        cluster, found = admin.describe_cluster()["cluster_id"], _topics(admin, names)
    ids = {name: topic.id for name, topic in found.items() if topic and topic.id}
    return Owner(cluster or None, ids, tuple(name for name, topic in found.items() if topic is None))


def look(at: Broker, names: Iterable[str]) -> dict[str, Topic | None]:
    """Ask for these topics; None stands for one that does not exist."""
    with administering(Access(at, "Describe", names := list(names))) as admin:
        return _topics(admin, names)


def _topics(admin: Any, names: list[str]) -> dict[str, Topic | None]:
    return {one["name"]: _topic(one) for one in admin.describe_topics(names)}


def _topic(of: dict[str, Any]) -> Topic | None:
    if of["error_code"] == UNKNOWN_TOPIC:
        return None
    parts = of["partitions"]
    leaderless = tuple(sorted(part["partition_index"] for part in parts if part["leader_id"] == NO_LEADER))
    in_sync = min((len(part["isr_nodes"]) for part in parts), default=0)
    return Topic(len(parts), str(of["topic_id"]) if of.get("topic_id") else None, leaderless, in_sync)
