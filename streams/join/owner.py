"""Whose log a feed joins: the Kafka cluster and the topics' ids, as a shard keeps them, and what a difference means.

Owns the fields' names and the errors. Does not know when they are compared: `create.lua` and `Store` do.
"""

from collections.abc import Mapping

from streams.errors import LogReplaced, StoreRefused
from streams.kafka.topics import Owner

CLUSTER, TOPIC = "cluster", "topic:"


def words(owner: Owner | None) -> dict[str, str]:
    """Return the fields of a shard that say whose log it joins; what the broker does not report is left out.

    >>> words(Owner("c", {"ads.outcomes": "id"}))
    {'cluster': 'c', 'topic:ads.outcomes': 'id'}
    """
    if owner is None:
        return {}
    cluster = {CLUSTER: owner.cluster} if owner.cluster else {}
    return cluster | {f"{TOPIC}{name}": topic_id for name, topic_id in owner.topics.items()}


def check_same(feed: str, there: Mapping[str, str], ours: Mapping[str, str]) -> None:
    """Check that what a shard keeps is what the broker reports.

    Raises:
        StoreRefused: the feed joins another cluster's log.
        LogReplaced: a topic was created again.
    """
    differs = [name for name in there if there[name] != ours[name]]
    if CLUSTER in differs:
        raise StoreRefused(
            f"feed {feed!r} in this store belongs to another Kafka cluster: it joins the log of cluster "
            f"{there[CLUSTER]!r}, and kafka.bootstrap is of cluster {ours[CLUSTER]!r}; nothing was changed. Give this "
            "feed another name or another store (redis.url with another host or number), or set kafka.bootstrap to "
            "the cluster that the feed belongs to"
        )
    for name in differs:
        raise LogReplaced(
            f"the topic {name.removeprefix(TOPIC)!r} was deleted and created again, or is another broker's: feed "
            f"{feed!r} has read the one with id {there[name]}, and now its id is {ours[name]}; nothing was changed. "
            "Give the new log a feed of another name, or begin anew with --fresh and an empty store"
        )
