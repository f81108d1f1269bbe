"""What a feed's user must be told while it is joined: times that cannot be right, and what became no sample.

Owns gathering it from shards and board. The words are in `streams/join/dates.py` and `missed.py`. Does not know
who shows them.
"""

from collections.abc import Collection, Sequence

from msgspec import Struct

from deploy.registry.kinds import START
from deploy.registry.notes import StartNote
from streams.events import Event
from streams.join.batch import Readers
from streams.join.dates import Doubt, doubts
from streams.join.missed import advice
from streams.join.policy import JoinPolicy
from streams.join.step import ShardState
from streams.join.store import Store
from streams.kafka.retention import TopicSettings
from streams.readers import Reader, time_of


class Judged(Struct, frozen=True):
    """`warnings` of what must be wrong, and `advice`, a line for each kind of event that is no sample."""

    warnings: list[Doubt] = []
    advice: list[str] = []


class Judge(Struct, frozen=True):
    """Judges the shards of one feed."""

    feed: str
    readers: Readers
    policy: JoinPolicy

    def __call__(self, store: Store, shards: Sequence[ShardState]) -> Judged:
        """Return what the shards and the board tell now."""
        start = START.read(*store.get(self.feed, START.name))
        warnings = [Doubt("start", text) for text in (start or StartNote([])).warnings]
        for topic, read in self._topics():
            kept = [at.dates for tp, at in sorted(shards[0].partitions.items()) if tp.rpartition(":")[0] == topic]
            warnings += doubts(topic, kept, time_of(read))
        return Judged(warnings, advice(shards, self.policy, self.readers.predictions, self.readers.outcomes))

    def _topics(self) -> list[tuple[str, Reader[Event]]]:
        readers = self.readers
        return [(readers.predictions, readers.prediction), (readers.outcomes, readers.outcome)]


def newest_ms(shards: Sequence[ShardState]) -> int:
    """Return the newest event's time, 0 without one; one after the store's clock counts as that clock."""
    newest = max((at.newest_ms for shard in shards for at in shard.partitions.values()), default=0)
    return max(0, min(newest, *(shard.now_ms for shard in shards)))


def arrivals(settings: dict[str, TopicSettings], readers: Readers) -> list[str]:
    """Return a warning where the broker overwrites the only time that an event has."""
    reads = {readers.predictions: readers.prediction, readers.outcomes: readers.outcome}
    own = [topic for topic, read in reads.items() if (source := time_of(read)) and source.own]
    overwritten = [topic for topic in own if settings[topic].timestamps == "LogAppendTime"]
    return [_arrivals(overwritten)] if overwritten else []


def _arrivals(topics: Collection[str]) -> str:
    names, has = " and ".join(repr(topic) for topic in topics), "has" if len(topics) == 1 else "have"
    return (
        f"{'topic' if len(topics) == 1 else 'topics'} {names} {has} message.timestamp.type=LogAppendTime, and the feed "
        "names no t: an event's time is when the broker received it, so what is sent late counts as on time; name the "
        "field that holds the time, fields(t=\"...\"), or send it in a header 't'"
    )
