"""The log's events, by id, in the order of each partition, and how late each of them may have arrived.

Owns the times by which that is judged: what its own partition had brought before an event, and how far the watermark
may have risen while the partition was silent. Does not know what events become.
"""

from bisect import bisect_left, bisect_right
from collections import defaultdict
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from enum import IntEnum
from itertools import accumulate
from operator import attrgetter
from typing import NamedTuple
from zlib import crc32

from msgspec import Struct

from streams.audit.rejoin import OutcomeArrival, PredictionArrival
from streams.join.batch import LAST_TIME_MS, Batch, Readers, decode
from streams.join.step import Rules, ShardState
from streams.kafka import Source, Tp
from streams.kafka.reading.scan import scan
from streams.kafka.records import tp_name


class Leeway(IntEnum):
    """What may have made an event late or refused; each level includes those before it."""

    OWN = 1  # its own partition had brought later times
    SILENT = 2  # its partition had been silent, so that others alone moved the watermark
    ENDED = 3  # the feed had ended
    REFUSED = 4  # there is a dead letter of it


class LogEvent(NamedTuple):
    """One event of the log; `timestamp_ms` is its record's; without a `label` (JSON) it is a prediction."""

    tp: str
    offset: int
    timestamp_ms: int
    id: str
    t_ms: int
    label: str | None
    refused: bool = False  # there is a dead letter of it


class Unreadable(NamedTuple):
    """A position that cannot be read but has no dead letter, and why it cannot."""

    position: str
    reason: str


class Seen(NamedTuple):
    """One event that the join has read; `before_ms` is the largest time that its partition had brought before it."""

    tp: str
    offset: int
    timestamp_ms: int
    t_ms: int
    label: str | None
    before_ms: int
    refused: bool


class Joined(Struct, frozen=True):
    """What is known of the join: the shards as they were read, its rules, and when its feed ended (None: not yet).

    `removed` says which parts of the log retention has removed.
    """

    shards: Sequence[ShardState]
    rules: Rules
    idle_ms: int
    ended_ms: int | None = None
    removed: Sequence[str] = ()

    def shard(self, key: str) -> ShardState:
        """Return an id's shard."""
        return self.shards[crc32(key.encode()) % len(self.shards)]


class _Lead(NamedTuple):
    """A record with a larger event time than all before it in its partition."""

    timestamp_ms: int
    t_ms: int


class _Heard(NamedTuple):
    """The first record after a silence."""

    offset: int
    timestamp_ms: int


class _Lift(NamedTuple):
    """How far the watermark may have risen before `offset` by silence."""

    offset: int
    highest_ms: int


class History:
    """The events of a log by id, each id's in the order of each partition.

    An event that its shard had not yet read only counts by its time.
    """

    def __init__(self, joined: Joined, log: Iterable[LogEvent | Unreadable]) -> None:
        self.joined = joined
        self.unreadable: list[Unreadable] = []
        self.events: dict[str, list[Seen]] = defaultdict(list)
        self._lifts = self._read(log)

    def _read(self, log: Iterable[LogEvent | Unreadable]) -> dict[str, list[_Lift]]:
        led, last = dict[str, int](), dict[str, int]()
        leads, heard = list[_Lead](), defaultdict[str, list[_Heard]](list)
        for event in log:
            if isinstance(event, Unreadable):
                self.unreadable.append(event)
                continue
            tp, offset, timestamp_ms, key, t_ms, label, refused = event
            before = led.get(tp, -1)
            if tp not in last or timestamp_ms - last[tp] >= self.joined.idle_ms:
                heard[tp].append(_Heard(offset, timestamp_ms))
            last[tp] = timestamp_ms
            if t_ms > before and not refused:
                led[tp] = t_ms
                leads.append(_Lead(timestamp_ms, t_ms))
            if offset < self.joined.shard(key).partitions[tp].next:
                self.events[key].append(Seen(tp, offset, timestamp_ms, t_ms, label, before, refused))
        return dict(_lifts(leads, heard))

    def bound_ms(self, one: Seen, level: Leeway, shard: ShardState) -> int:
        """Return the highest that the watermark can have been when an event arrived."""
        highest = one.before_ms
        if level >= Leeway.SILENT:
            lifts = self._lifts[one.tp]
            highest = max(highest, lifts[bisect_right(lifts, one.offset, key=attrgetter("offset")) - 1].highest_ms)
        return min(max(highest - self.joined.rules.slack_ms, self.added_ms(one, shard)), shard.watermark_ms)

    def added_ms(self, one: Seen, shard: ShardState) -> int:
        """Return the watermark when an event's partition was added; 0 if it was there from the beginning."""
        return shard.partitions[one.tp].since_ms

    def outcome(self, one: Seen, level: Leeway, shard: ShardState) -> OutcomeArrival:
        """Return an outcome with how late it may have arrived."""
        bound_ms = self.bound_ms(one, level, shard)
        return OutcomeArrival(one.t_ms, str(one.label), bound_ms, self._after_end(one, level), one.refused)

    def prediction(self, one: Seen, level: Leeway, shard: ShardState) -> PredictionArrival:
        """Return a prediction with how late it may have arrived."""
        return PredictionArrival(one.t_ms, self.bound_ms(one, level, shard), self._after_end(one, level), one.refused)

    def _after_end(self, one: Seen, level: Leeway) -> bool:
        ended_ms = self.joined.ended_ms
        return level >= Leeway.ENDED and ended_ms is not None and one.timestamp_ms >= ended_ms


def _lifts(leads: list[_Lead], heard: Mapping[str, list[_Heard]]) -> Iterator[tuple[str, list[_Lift]]]:
    """Yield of each partition how far each of its silences may have let the watermark rise.

    An idle partition counts as having the largest time of all; if that is its own, as moving on with the clock.
    """
    leads = sorted(leads)
    led = list(accumulate((one.t_ms for one in leads), max))
    begin = leads[0].timestamp_ms if leads else 0
    for tp, firsts in heard.items():
        since = [begin, *(first.timestamp_ms for first in firsts)]
        highest, lifts = -1, []
        for start, first in zip(since, firsts, strict=False):
            n = bisect_left(leads, first.timestamp_ms, key=attrgetter("timestamp_ms"))
            highest = max(highest, led[n - 1] + first.timestamp_ms - start if n else -1)
            lifts.append(_Lift(first.offset, highest))
        yield tp, lifts


def read_log(
    source: Source, readers: Readers, rules: Rules, ranges: Mapping[Tp, tuple[int, int]], refused: Container[str]
) -> Iterator[LogEvent | Unreadable]:
    """Read the ranges of the log again; `refused` are the positions, "topic/partition/offset", with dead letters."""
    for polled in scan(source, ranges):
        yield from _events(decode(polled, readers, 1, rules, LAST_TIME_MS), refused)


def _events(batch: Batch, refused: Container[str]) -> Iterator[LogEvent | Unreadable]:
    tp = batch.polled.tp
    for letter in batch.letters:
        position = f"{tp.topic}/{tp.partition}/{letter.start}"
        if position not in refused:
            yield Unreadable(position, letter.reason)
    timestamps = {record.offset: record.timestamp_ms for record in batch.polled.records}
    for offset, key, t_ms, body in zip(batch.offsets, batch.ids, batch.times, batch.bodies, strict=True):
        label = body.rpartition(',"label_t":')[0] if batch.outcomes else None
        has_letter = f"{tp.topic}/{tp.partition}/{offset}" in refused
        yield LogEvent(tp_name(tp), offset, timestamps[offset], key, t_ms, label, has_letter)
