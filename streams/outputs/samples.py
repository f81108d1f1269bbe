"""Reads the sample streams after a position, and trims what was read.

Owns the order: whichever shard has samples is read, and none is waited for while another has some. Does not know what
becomes of a sample, nor when it may be dropped: the caller decides.
"""

from collections.abc import Iterator, Mapping
from typing import NamedTuple

from streams.join.step import ShardState
from streams.join.store import NOTHING, Store, StoredSample

PAGE = 1_000  # samples of one shard that are read at once
BLOCK_MS = 500


class Taken(NamedTuple):
    """One sample, the JSON of a `Sample`; the shard that it comes from, and its position in the shard's stream."""

    shard: int
    position: str
    sample: bytes


class Samples:
    """Reads a feed's samples once each, in the order of each shard: `for shard, position, sample in samples`.

    `after` maps a shard to the position last read; a shard that is not in it is read from its first sample. Store the
    positions together with what you made of the samples, and call `done` once both are durable: without it the joiners
    pause when `join.stream_bound` samples wait. Only one reader may run at a time.

    Raises, while reading:
        HistoryChanged: the store went back in time and no longer holds the position; the samples after the newest
            position that it still holds come again, with other contents.
    """

    def __init__(self, store: Store, feed: str, shards: int, after: Mapping[int, str] | None = None) -> None:
        self._store, self._feed = store, feed
        self._at = dict.fromkeys(range(shards), NOTHING) | dict(after or {})

    def __iter__(self) -> Iterator[Taken]:
        """Yield samples, waiting for more, until the feed was ended and all its windows are closed."""
        while True:
            taken = [Taken(shard, stored.position, stored.sample) for shard in self._at for stored in self.take(shard)]
            yield from taken
            if not taken and self.wait(BLOCK_MS):
                return

    def take(self, shard: int, count: int = PAGE) -> list[StoredSample]:
        """Read the next samples of one shard, at most `count`, without waiting."""
        samples = self._store.read(self._feed, shard, self._at[shard], count)
        if samples:
            self._at[shard] = samples[-1].position
        return samples

    def wait(self, block_ms: int) -> bool:
        """Sleep until there may be a sample, at most `block_ms`; return True once all are read and no more come."""
        shards = [self._store.shard(self._feed, shard) for shard in self._at]
        if all(closed(state) and state.last_id == self._at[shard] for shard, state in enumerate(shards)):
            return True
        self._store.wait(self._feed, self._at, block_ms)
        return False

    def done(self, shard: int, position: str) -> None:
        """Drop the shard's samples before `position`, which was read; that one stays, for the next reader to find."""
        self._store.trim(self._feed, shard, position)


def closed(state: ShardState) -> bool:
    """Return whether no more samples come: the feed was ended, and every window of the shard is closed."""
    return state.ending and state.windows == 0 and all(at.ended for at in state.partitions.values())


def number(position: str) -> int:
    """Return a position's number: how many samples of the shard there are up to it."""
    return int(position.partition("-")[0])
