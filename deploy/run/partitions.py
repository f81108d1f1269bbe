"""The partitions of a feed's topics: created where missing, watched while it runs, and added to the store's shards.

Owns the comparison of what the broker has with what the store joins. Does not know who reads the partitions.
"""

import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing, suppress
from types import TracebackType
from typing import Self

from deploy import contradictions
from deploy.config import Settings
from streams.errors import ShadowstreamError
from streams.join.store import Store
from streams.kafka import Source, Tp, ensure_topics, partition_counts, topic_settings
from streams.kafka.broker import Broker
from streams.kafka.retention import check, check_written
from streams.kafka.topics import owner

Say = Callable[[str], None]  # takes what happens, a line each
ASK_EVERY_S = 3.0  # a producer's client learns of a new partition within minutes


class Partitions:
    """A feed's partitions; `counts` has their number by topic. `begin` makes it.

    A context manager: inside it, a thread asks the broker for added partitions.
    """

    def __init__(self, feed: str, settings: Settings, store: Store, counts: Mapping[str, int], say: Say) -> None:
        topics = settings.topics.named(feed)
        self._feed, self._shards, self._store, self._say = feed, settings.join.shards, store, say
        self._joined = (topics.predictions, topics.outcomes)
        self.counts = dict(counts)
        self._watch = _Watch(settings.kafka, list(counts))

    @property
    def tps(self) -> list[Tp]:
        """The partitions that are joined."""
        return _all(self._joined, self.counts)

    @property
    def most(self) -> int:
        """How many joiners can share them, since partitions with one number go to one joiner."""
        return max(self.counts[topic] for topic in self._joined)

    def follow(self) -> bool:
        """Add to the shards the partitions that only the broker has; return whether a topic has grown, and say so.

        Does nothing where the broker has not answered since the last call. Partitions that a store has forgotten,
        because it went back in time, are added again.
        """
        answer = self._watch.take()
        if not answer:
            return False
        counts = {topic: max(n, answer.get(topic, 0)) for topic, n in self.counts.items()}
        self._store.add(self._feed, self._shards, _all(self._joined, counts))
        grown = [f"{topic} has {n}" for topic, n in counts.items() if n > self.counts[topic]]
        self.counts = counts
        if grown:
            self._say(f"partitions were added: {', '.join(grown)}")
        return bool(grown)

    def __enter__(self) -> Self:
        self._watch.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._watch.stop()


def begin(
    feed: str,
    settings: Settings,
    store: Store,
    say: Say,
    others: Mapping[str, int],
    restored: Mapping[int, str] | None = None,
) -> Partitions:
    """Create the topics and shards that are missing, and go on with those that exist.

    `others` are further topics, with the number of partitions that a new one gets; a topic that exists keeps its own.
    `restored` has, for each shard that the store has lost, the position after which it goes on.

    Raises:
        ConfigError: settings contradict what broker or store take, or a topic's retention or compaction may remove
            records before they are read.
        StoreRefused: the feed has read partitions that do not exist, has another number of shards, or belongs to
            another cluster.
        LogReplaced: a topic was deleted and created again.
    """
    topics, join = settings.topics.named(feed), settings.join
    joined = (topics.predictions, topics.outcomes)
    counts = ensure_topics(settings.kafka, dict.fromkeys((*joined, topics.dead), topics.partitions) | dict(others))
    policies = topic_settings(settings.kafka, counts)
    ours = (*others, topics.dead, *(joined[:1] if topics.requests in others else ()))
    limits = {topic: policies[topic].record_bytes for topic in ours}
    most = max(counts[topic] for topic in joined)
    contradictions.check_limits(settings, feed, limits, store.message_bytes(), most)
    check_written({topic: policies[topic] for topic in {topics.dead, *others} - {topics.requests}})
    kept = {topic: policies[topic] for topic in joined}
    warnings = check(kept, window_s=join.window_s, keep_s=join.keep_s, slack_s=join.slack_s, align_s=join.align_s)
    for warning in warnings:
        say(f"warning: {warning}")
    store.check()
    tps = _all(joined, counts)
    with closing(Source(settings.kafka, tps)) as source:
        starts: dict[tuple[str, int], int] = dict(source.starts().items())
    store.create(feed, join.shards, tps, starts, restored, owner(settings.kafka, joined))
    return Partitions(feed, settings, store, counts, say)


def catch_up(feed: str, settings: Settings, store: Store) -> None:
    """Add to the shards, once, the partitions that only the broker has, so that what follows covers them, too.

    Raises:
        StoreRefused, LogReplaced: the feed in the store joins another log than this broker's.
    """
    topics = settings.topics.named(feed)
    joined = (topics.predictions, topics.outcomes)
    store.check_owner(feed, owner(settings.kafka, joined))
    store.add(feed, settings.join.shards, _all(joined, partition_counts(settings.kafka, joined)))


class _Watch:
    """A thread that asks how many partitions there are, so that a broker that does not answer delays nobody."""

    def __init__(self, broker: Broker, topics: list[str]) -> None:
        self._broker, self._topics = broker, topics
        self._answer: dict[str, int] = {}
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stopped.set()

    def take(self) -> dict[str, int]:
        """Return the newest answer; empty if there was none since the last call."""
        answer, self._answer = self._answer, {}
        return answer

    def _run(self) -> None:
        while not self._stopped.wait(ASK_EVERY_S):
            with suppress(ShadowstreamError):  # the roles that read will report what is wrong
                self._answer = partition_counts(self._broker, self._topics)


def _all(topics: Sequence[str], counts: Mapping[str, int]) -> list[Tp]:
    return [Tp(topic, n) for topic in topics for n in range(counts[topic])]
