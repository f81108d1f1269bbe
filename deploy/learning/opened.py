"""How many predictions the join had opened, which live experts are told once all outcomes up to then are learned.

Owns when that is. Does not know what is made of it.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from streams.join.step import ShardState
from streams.outputs.samples import number


class Opened(NamedTuple):
    """How many predictions the join had opened at a watermark, and how many entries each shard had emitted by then."""

    watermark_ms: int
    predictions: int
    entries: tuple[int, ...]

    @classmethod
    def of(cls, shards: Sequence[ShardState]) -> "Opened | None":
        """Return it of all shards in one look; None before anything was opened."""
        opened, watermark_ms = sum(s.counters["opened"] for s in shards), min(s.watermark_ms for s in shards)
        return cls(watermark_ms, opened, tuple(s.seq for s in shards)) if opened and watermark_ms > 0 else None

    def reached(self, positions: Mapping[int, str]) -> bool:
        """Return whether all these entries were learned."""
        return all(number(positions[shard]) >= seq for shard, seq in enumerate(self.entries))
