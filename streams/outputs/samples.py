"""The sample streams, to be read from a position on and trimmed behind it.

Owns the order: whichever shard has samples is read, and none is waited for while another has some. Does not know what
becomes of a sample, nor when it is safe to drop: that is the caller's word.
"""

from collections.abc import Iterator, Mapping
from typing import NamedTuple

from streams.join.step import ShardState
from streams.join.store import NOTHING, Store

PAGE = 1_000  # samples read at once, of one shard
BLOCK_MS = 500


class Taken(NamedTuple):
    """One sample, the JSON of a `Sample`, and its place: the shard, and the position in the shard's stream."""

    shard: int
    position: str
    sample: bytes


class Samples:
    """Reads a feed's samples once each, in the order of each shard: `for shard, position, sample in samples`.

    `after` gives the position last read of each shard; a shard that is not in it is read from its first sample. Keep
    positions with what you made of the samples, and call `done` when that is safe: without it the joiners pause once
    `join.stream_bound` samples wait. One reader at a time.

    Raises, while reading:
        HistoryChanged: the store went back in time and does not hold the position any more; samples after the newest
            position that it still holds come again, with other contents.
    """

    def __init__(self, store: Store, feed: str, shards: int, after: Mapping[int, str] | None = None) -> None:
        self._store, self._feed = store, feed
        self._at = dict.fromkeys(range(shards), NOTHING) | dict(after or {})

    def __iter__(self) -> Iterator[Taken]:
        """Give sample after sample, waiting for more, until the feed was ended and all its windows are closed."""
        while True:
            found = [Taken(shard, *entry) for shard in self._at for entry in self.take(shard)]
            yield from found
            if not found and self.wait(BLOCK_MS):
                return

    def take(self, shard: int, count: int = PAGE) -> list[tuple[str, bytes]]:
        """Read what is there of one shard, up to `count` samples, as (position, JSON)."""
        found = self._store.read(self._feed, shard, self._at[shard], count)
        if found:
            self._at[shard] = found[-1][0]
        return found

    def wait(self, block_ms: int) -> bool:
        """Sleep until there may be a sample, at most `block_ms`; True once all has been read and no more will come."""
        shards = [self._store.shard(self._feed, shard) for shard in self._at]
        if all(closed(state) and state.last_id == self._at[shard] for shard, state in enumerate(shards)):
            return True
        self._store.wait(self._feed, self._at, block_ms)
        return False

    def done(self, shard: int, position: str) -> None:
        """Drop the shard's samples before `position`, which must have been read; it stays, to be known again."""
        self._store.trim(self._feed, shard, position)


def closed(state: ShardState) -> bool:
    """Tell whether the feed was ended and every window of the shard has closed: no more samples come."""
    return state.ending and state.windows == 0 and all(at.ended for at in state.partitions.values())


def number(position: str) -> int:
    """Give a position's number: the count of samples of the shard up to it."""
    return int(position.partition("-")[0])
