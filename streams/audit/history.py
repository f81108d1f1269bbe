"""The log's events, by id, in the order of each partition, and how late each of them may have come.

Owns the times by which that is judged: what its own partition had brought before an event, and how far the watermark
may have risen while it was silent. Does not know what events become.
"""

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from itertools import accumulate
from typing import NamedTuple
from zlib import crc32

from streams.audit.rejoin import Asked, Told
from streams.join.batch import LAST_TIME_MS, Batch, Readers, decode
from streams.join.step import Rules, ShardState
from streams.kafka import Source, Tp
from streams.kafka.records import tp_name
from streams.kafka.scan import scan

OWN, SILENT, ENDED, REFUSED = range(1, 5)  # how much is taken into account of what may have made an event late


class Seen(NamedTuple):
    """One event in the log; `before_ms` is the largest time that its partition had brought before it."""

    tp: str
    offset: int
    at_ms: int  # the record's timestamp
    t: int
    label: str | None  # None: a prediction
    before_ms: int
    refused: bool  # there is a dead letter of it


class History:
    """The events of a range of the log, by id, in the order of each partition.

    `shards` are the looks up to which the log is joined; of an event that a shard had not read by then only the time
    counts. `removed` names the partitions of which a part is gone.
    """

    def __init__(
        self,
        shards: Sequence[ShardState],
        rules: Rules,
        idle_ms: int,
        ended_ms: int | None,
        removed: Collection[str] = (),
    ) -> None:
        self.shards, self.rules, self.removed = shards, rules, list(removed)
        self._idle_ms, self._ended_ms = idle_ms, ended_ms
        self.unreadable: list[tuple[str, str]] = []  # position and why, where there is no dead letter
        self.events: dict[str, list[Seen]] = defaultdict(list)
        self._times: list[tuple[int, int]] = []  # (timestamp, time) of the records that led their partition
        self._led: dict[str, int] = {}
        self._last: dict[str, int] = {}
        self._gaps: dict[str, list[tuple[int, int]]] = defaultdict(list)  # (offset, timestamp) after each silence
        self._lifts: dict[str, list[tuple[int, int]]] = {}

    def add(
        self, tp: str, offset: int, at_ms: int, key: str, t: int, label: str | None, *, refused: bool = False
    ) -> None:
        """Add the next event of a partition."""
        before = self._led.get(tp, -1)
        if tp not in self._last or at_ms - self._last[tp] >= self._idle_ms:
            self._gaps[tp].append((offset, at_ms))
        self._last[tp] = at_ms
        if t > before and not refused:
            self._led[tp] = t
            self._times.append((at_ms, t))
        shard = self.shards[crc32(key.encode()) % len(self.shards)]
        if offset < shard.partitions[tp].next:
            self.events[key].append(Seen(tp, offset, at_ms, t, label, before, refused))

    def close(self) -> None:
        """Work out how far each silence may have let the watermark rise."""
        times = sorted(self._times)
        led = list(accumulate((t for _, t in times), max))
        begins = times[0][0] if times else 0
        for tp, gaps in self._gaps.items():
            ends = [begins, *(at for _, at in gaps)]
            rose = [(bisect_left(times, (at, -1)), at - since) for (_, at), since in zip(gaps, ends, strict=False)]
            highest = accumulate((led[n - 1] + silent if n else -1 for n, silent in rose), max)
            self._lifts[tp] = list(zip((offset for offset, _ in gaps), highest, strict=True))

    def shard(self, key: str) -> ShardState:
        """Give the look at an id's shard."""
        return self.shards[crc32(key.encode()) % len(self.shards)]

    def bound_ms(self, one: Seen, level: int, shard: ShardState) -> int:
        """Give the highest that the watermark can have been when an event came."""
        highest = one.before_ms
        if level >= SILENT:
            gap = bisect_left(self._lifts[one.tp], (one.offset + 1, -1)) - 1
            highest = max(highest, self._lifts[one.tp][gap][1])
        return min(max(highest - self.rules.slack_ms, self.added_ms(one, shard)), shard.watermark_ms)

    def added_ms(self, one: Seen, shard: ShardState) -> int:
        """Give the watermark when an event's partition was added; 0 where it was there from the beginning."""
        return shard.partitions[one.tp].since_ms

    def told(self, one: Seen, level: int, shard: ShardState) -> Told:
        """Give an outcome with how late it may have come."""
        late = (self.bound_ms(one, level, shard), self._after_end(one, level), one.refused)
        return Told(one.t, str(one.label), *late)

    def asked(self, one: Seen, level: int, shard: ShardState) -> Asked:
        """Give a prediction with how late it may have come."""
        return Asked(one.t, self.bound_ms(one, level, shard), self._after_end(one, level), one.refused)

    def _after_end(self, one: Seen, level: int) -> bool:
        return level >= ENDED and self._ended_ms is not None and one.at_ms >= self._ended_ms


def reread(
    history: History, source: Source, readers: Readers, ranges: Mapping[Tp, tuple[int, int]], refused: Collection[str]
) -> None:
    """Read the log again; `refused` are the positions, "topic/partition/offset", of which there are dead letters."""
    for polled in scan(source, ranges):
        batch = decode(polled, readers, 1, history.rules, LAST_TIME_MS)
        _add(history, batch, refused)


def _add(history: History, batch: Batch, refused: Collection[str]) -> None:
    place = "/".join(map(str, batch.polled.tp))
    for letter in batch.letters:
        if f"{place}/{letter.start}" not in refused:
            history.unreadable.append((f"{place}/{letter.start}", letter.reason))
    at_ms = {record.offset: record.timestamp_ms for record in batch.polled.records}
    for offset, key, t, body in zip(batch.offsets, batch.ids, batch.times, batch.bodies, strict=True):
        label = body.rpartition(',"label_t":')[0] if batch.outcomes else None
        seen = f"{place}/{offset}" in refused
        history.add(tp_name(batch.polled.tp), offset, at_ms[offset], key, t, label, refused=seen)
