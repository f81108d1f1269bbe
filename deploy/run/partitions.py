"""The partitions of a feed's topics: created where missing, watched while it runs, and added to the store's shards.

Owns the comparison of what the broker has with what the store joins. Does not know who reads the partitions.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import closing, suppress
from types import TracebackType
from typing import Self

from deploy import contradictions
from deploy.config import Settings
from deploy.doubts import arrivals
from deploy.feed import Feed
from deploy.registry.kinds import START
from deploy.registry.notes import StartNote
from deploy.run.watch import Answer, Watch
from streams.errors import BrokerRefused, BrokerUnreachable, LogReplaced, TopicGone
from streams.join.store import Store
from streams.kafka import Source, Tp, ensure_topics, partition_counts, topic_settings
from streams.kafka.held import Held
from streams.kafka.retention import check, check_written
from streams.kafka.topics import Topic, look, owner

Say = Callable[[str], None]  # takes what happens, a line each


class Partitions:
    """A feed's partitions; `counts` has their number by topic. `begin` makes it.

    A context manager: inside it, a thread asks the broker what has changed. `held` is what open transactions hold,
    `ends` are the log's; `serving` ends with the topic of requests or predictions.
    """

    def __init__(self, feed: str, settings: Settings, store: Store, counts: Mapping[str, int], say: Say) -> None:
        topics = settings.topics.named(feed)
        self._feed, self._shards, self._store, self._say = feed, settings.join.shards, store, say
        self._joined = (topics.predictions, topics.outcomes)
        self.counts = dict(counts)
        self._dead, self._partitions = topics.dead, topics.partitions
        self._kafka = settings.kafka
        self._ids: dict[str, str] = {}
        self._missing: set[str] = set()
        self._served = {topics.requests, topics.predictions}
        self.serving = True
        self._told: set[str] = set()
        self.held: list[Held] = []
        self.ends: dict[Tp, int] = {}
        read = (*self._joined, *{topics.requests} & counts.keys())
        self._watch = Watch(settings.kafka, list(counts), read)

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
        because it went back in time, are added again. What the broker holds back is said.

        Raises:
            TopicGone: a topic was deleted. LogReplaced: it was created again.
        """
        answer = self._watch.take()
        if answer is None:
            return False
        self._tell(answer)
        if answer.wrong:
            return False
        self._check_there(answer.topics)
        found = {name: topic.partitions for name, topic in answer.topics.items() if topic}
        counts = {topic: max(n, found.get(topic, 0)) for topic, n in self.counts.items()}
        self._store.add(self._feed, self._shards, _all(self._joined, counts))
        grown = [f"{topic} has {n}" for topic, n in counts.items() if n > self.counts[topic]]
        self.counts = counts
        if grown:
            self._say(f"partitions were added: {', '.join(grown)}")
        return bool(grown)

    def look_closer(self) -> None:
        """Ask the broker, where a role found that its log is not the one that it has read.

        Raises:
            TopicGone, LogReplaced: a topic was deleted, or created again.
        """
        with suppress(BrokerUnreachable, BrokerRefused):
            for _ in range(2):
                self._check_there(look(self._kafka, list(self.counts)))

    def _check_there(self, topics: Mapping[str, Topic | None]) -> None:
        """Check that no topic was deleted; two answers in a row must say so, for a broker that starts knows none.

        A topic of dead letters is created again: nobody has read it.
        """
        missing = {name for name, topic in topics.items() if topic is None}
        gone, self._missing = missing & self._missing, missing
        if self._dead in gone:
            ensure_topics(self._kafka, {self._dead: self._partitions})
            self._say(f"the topic {self._dead} of the dead letters was deleted; it is created again")
        gone -= {self._dead}
        self.serving = self.serving and not self._served & gone
        for name in sorted(gone):
            raise TopicGone(f"the topic {name} is gone: it was deleted while feed {self._feed!r} used it")
        ids = {name: topic.id for name, topic in topics.items() if topic and topic.id and name != self._dead}
        replaced = {name for name in ids if self._ids.get(name, ids[name]) != ids[name]}
        self.serving = self.serving and not self._served & replaced
        for name in sorted(replaced):
            raise LogReplaced(
                f"the topic {name} was deleted and created again while feed {self._feed!r} used it: its id was "
                f"{self._ids[name]} and is {ids[name]}"
            )
        self._ids |= ids

    def _tell(self, answer: Answer) -> None:
        """Say what the broker holds back, each thing when it begins, and when it is over."""
        now = {f"warning: {answer.wrong}; waiting for the broker"} if answer.wrong else set()
        for name, topic in answer.topics.items():
            if topic and topic.leaderless:
                which = ", ".join(map(str, topic.leaderless))
                now.add(f"warning: {name} has no leader for partition {which}: nothing of it is read or written")
            if topic and (least := answer.least.get(name)) and topic.in_sync < least:
                now.add(
                    f"warning: {name} has {topic.in_sync} replicas in sync, less than its min.insync.replicas "
                    f"({least}): it takes no record"
                )
        if not answer.wrong:
            self.held, self.ends = answer.held, answer.ends
        now |= {f"warning: {one.line}" for one in self.held}
        for line in sorted(now - self._told):
            self._say(line)
        for line in sorted(self._told - now):
            self._say(f"over: {line.removeprefix('warning: ')}")
        self._told = now

    def __enter__(self) -> Self:
        self._watch.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._watch.stop()


def begin(
    feed: Feed,
    settings: Settings,
    store: Store,
    say: Say,
    others: Mapping[str, int],
    restored: Mapping[int, str] | None = None,
    doubts: Sequence[str] = (),
) -> Partitions:
    """Create the topics and shards that are missing, and go on with those that exist.

    `others` are further topics, with the number of partitions that a new one gets; a topic that exists keeps its own.
    `restored` has, for each shard that the store has lost, the position after which it goes on. `doubts` are warned of
    beside our own.

    Raises:
        ConfigError: settings contradict what broker or store take, or a topic's retention or compaction may remove
            records before they are read.
        StoreRefused: the feed has read partitions that do not exist, has another number of shards, or belongs to
            another cluster.
        LogReplaced: a topic was deleted and created again.
    """
    name, topics, join = feed.name, settings.topics.named(feed.name), settings.join
    joined = (topics.predictions, topics.outcomes)
    if join.joiners > 1:  # known before topics are created, which would then have too few partitions for good
        there = look(settings.kafka, joined).values()
        contradictions.check_joiners(settings, max(one.partitions if one else topics.partitions for one in there))
    if topics.requests in others and settings.serve.servers > 1:
        asked = look(settings.kafka, [topics.requests])[topics.requests]
        contradictions.check_servers(settings, asked.partitions if asked else topics.partitions)
    counts = ensure_topics(settings.kafka, dict.fromkeys((*joined, topics.dead), topics.partitions) | dict(others))
    policies = topic_settings(settings.kafka, counts)
    ours = (*others, topics.dead, *(joined[:1] if topics.requests in others else ()))
    limits = {topic: policies[topic].record_bytes for topic in ours}
    contradictions.check_limits(settings, name, limits, store.message_bytes())
    check_written({topic: policies[topic] for topic in {topics.dead, *others} - {topics.requests}})
    kept = {topic: policies[topic] for topic in joined}
    warnings = [*doubts]
    warnings += check(kept, window_s=join.window_s, keep_s=join.keep_s, slack_s=join.slack_s, align_s=join.align_s)
    warnings += arrivals(kept, feed.readers(topics))
    warnings += store.check()
    for warning in warnings:
        say(f"warning: {warning}")
    tps = _all(joined, counts)
    with closing(Source(settings.kafka, tps)) as source:
        starts: dict[tuple[str, int], int] = dict(source.starts().items())
    store.create(name, join.shards, tps, starts, restored, owner(settings.kafka, joined))
    store.put(name, START.entry(StartNote(warnings)))
    return Partitions(name, settings, store, counts, say)


def catch_up(feed: str, settings: Settings, store: Store) -> None:
    """Add to the shards, once, the partitions that only the broker has, so that what follows covers them, too.

    Raises:
        StoreRefused, LogReplaced: the feed in the store joins another log than this broker's.
    """
    topics = settings.topics.named(feed)
    joined = (topics.predictions, topics.outcomes)
    store.check_owner(feed, owner(settings.kafka, joined))
    store.add(feed, settings.join.shards, _all(joined, partition_counts(settings.kafka, joined)))


def _all(topics: Sequence[str], counts: Mapping[str, int]) -> list[Tp]:
    return [Tp(topic, n) for topic in topics for n in range(counts[topic])]
