"""What the join had done at a look at it, which is of use once all that it had emitted by then is learned: how many
predictions it had opened, which live experts are told, and up to when it had told all; and which offsets it had read.

Owns when that is. Does not know what is made of it.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from streams.join.step import ShardState
from streams.outputs.samples import number


class Opened(NamedTuple):
    """How many predictions the join had opened when its newest events were of a time.

    `entries`: how many entries each shard had emitted when its watermark reached that time; empty before it did.
    """

    newest_ms: int
    predictions: int
    entries: tuple[int, ...] = ()

    @classmethod
    def of(cls, shards: Sequence[ShardState]) -> "Opened | None":
        """Return it of all shards in one look; None before anything was opened."""
        opened = sum(s.counters["opened"] for s in shards)
        newest_ms = max((of.t_ms for s in shards for of in s.partitions.values()), default=-1)
        return cls(newest_ms, opened) if opened and newest_ms > 0 else None

    def looked(self, shards: Sequence[ShardState]) -> "Opened":
        """Return it as it is after a later look at the shards."""
        if self.entries or min(s.watermark_ms for s in shards) < self.newest_ms:
            return self
        return self._replace(entries=tuple(s.seq for s in shards))

    def reached(self, positions: Mapping[int, str]) -> bool:
        """Return whether all outcomes up to that time were learned."""
        emitted = enumerate(self.entries)
        return bool(self.entries) and all(number(positions[shard]) >= seq for shard, seq in emitted)


class Heard(NamedTuple):
    """Up to which event time the join had told all, and how many entries each shard had emitted by then."""

    told_ms: int
    entries: tuple[int, ...]

    @classmethod
    def of(cls, shards: Sequence[ShardState]) -> "Heard":
        """Return it of all shards in one look."""
        return cls(min(s.told_ms for s in shards), tuple(s.seq for s in shards))

    def reached(self, positions: Mapping[int, str]) -> bool:
        """Return whether all of these entries were learned."""
        return all(number(positions[shard]) >= seq for shard, seq in enumerate(self.entries))


def offsets(shards: Sequence[ShardState], before: Mapping[str, tuple[int, int]]) -> dict[str, tuple[int, int]]:
    """Return by "topic:partition" the first offset that was read, and the one after the last: of any shard, or before.

    A store that went back has read less than what is learned of it.
    """
    read = dict(before)
    for shard in shards:
        for tp, at in shard.partitions.items():
            start, end = read.get(tp, (at.start, at.next))
            read[tp] = (min(start, at.start), max(end, at.next))
    return read
