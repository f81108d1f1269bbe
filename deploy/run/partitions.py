"""The partitions of a feed's topics: made where they are not, asked for while it runs, and given to the store's shards.

Owns the comparison of what the broker has with what the store joins. Does not know who reads the partitions.
"""

import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing, suppress
from types import TracebackType
from typing import Self

from deploy.config import Settings
from streams.errors import ShadowstreamError
from streams.join.store import Store
from streams.kafka import Source, Tp, ensure_topics, partition_counts, topic_settings
from streams.kafka.broker import Broker
from streams.kafka.retention import check

EVERY_S = 3.0  # a producer's client learns of a new partition within minutes


class Partitions:
    """A feed's partitions, from `begin`; a context manager while it asks the broker for more. `counts` are by topic."""

    def __init__(self, feed: str, settings: Settings, store: Store, counts: Mapping[str, int]) -> None:
        topics = settings.topics.named(feed)
        self._feed, self._shards, self._store = feed, settings.join.shards, store
        self._joined = (topics.predictions, topics.outcomes)
        self.counts = dict(counts)
        self._watch = _Watch(settings.kafka, list(counts))

    @property
    def tps(self) -> list[Tp]:
        """Those that are joined."""
        return _all(self._joined, self.counts)

    @property
    def most(self) -> int:
        """How many joiners can share them; those with one number go together."""
        return max(self.counts[topic] for topic in self._joined)

    def follow(self) -> list[str]:
        """Give the shards what the broker has and they do not; returns the topics that have grown.

        Does something only where the broker has answered since the last call. Also what a store that went back in time
        has forgotten is added again.
        """
        found = self._watch.news()
        if not found:
            return []
        counts = {topic: max(n, found.get(topic, 0)) for topic, n in self.counts.items()}
        self._store.add(self._feed, self._shards, _all(self._joined, counts))
        grown = [topic for topic, n in counts.items() if n > self.counts[topic]]
        self.counts = counts
        return grown

    def __enter__(self) -> Self:
        self._watch.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._watch.stop()


def begin(
    feed: str,
    settings: Settings,
    store: Store,
    say: Callable[[str], None],
    others: Mapping[str, int],
    restored: Mapping[int, str] | None = None,
) -> Partitions:
    """Make the topics and shards that are not there, and go on with those that are.

    `others` are further topics and how many partitions new ones get. A topic that is there has as many as it has.
    `restored` are the positions behind which shards go on that the store has lost.

    Raises:
        ConfigError: records could go before they are read.
        StoreRefused: the feed has read partitions that are not there, or has another number of shards.
    """
    topics, join = settings.topics.named(feed), settings.join
    joined = (topics.predictions, topics.outcomes)
    counts = ensure_topics(settings.kafka, dict.fromkeys((*joined, topics.dead), topics.partitions) | dict(others))
    told = topic_settings(settings.kafka, joined)
    warnings = check(told, window_s=join.window_s, keep_s=join.keep_s, slack_s=join.slack_s, align_s=join.align_s)
    for warning in warnings:
        say(f"warning: {warning}")
    store.check()
    tps = _all(joined, counts)
    with closing(Source(settings.kafka, tps)) as source:
        starts: dict[tuple[str, int], int] = dict(source.starts().items())
    store.create(feed, join.shards, tps, starts, restored)
    return Partitions(feed, settings, store, counts)


def catch_up(feed: str, settings: Settings, store: Store) -> None:
    """Give the shards, once, what the broker has and they do not: what follows must not go by less."""
    topics = settings.topics.named(feed)
    joined = (topics.predictions, topics.outcomes)
    store.add(feed, settings.join.shards, _all(joined, partition_counts(settings.kafka, joined)))


class _Watch:
    """A thread that asks every few seconds, so that a broker that does not answer holds nobody up."""

    def __init__(self, at: Broker, topics: list[str]) -> None:
        self._at, self._topics = at, topics
        self._found: dict[str, int] = {}
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._over.set()

    def news(self) -> dict[str, int]:
        """Take the newest answer; empty if there was none since the last call."""
        found, self._found = self._found, {}
        return found

    def _run(self) -> None:
        while not self._over.wait(EVERY_S):
            with suppress(ShadowstreamError):  # those who read will say what is wrong
                self._found = partition_counts(self._at, self._topics)


def _all(topics: Sequence[str], counts: Mapping[str, int]) -> list[Tp]:
    return [Tp(topic, n) for topic in topics for n in range(counts[topic])]
