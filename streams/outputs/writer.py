"""The writer: samples from the streams into an output, exactly once by id and revision.

Owns the order of things: recover the output's own position, read on from it, write, and trim the stream only when what
was written is durable. Holds nothing that is not in the output or the stream. Does not know what an output is made of.
"""

from collections.abc import Sequence
from typing import Literal, Protocol

from msgspec import Struct

from streams.errors import HistoryChanged
from streams.join.store import NOTHING, Store
from streams.kafka import Tp
from streams.outputs.samples import Samples, number


class Output(Protocol):
    """One shard's part of an output. A position is that of the sample stream; NOTHING is before the first sample."""

    place: str  # for messages

    def position(self) -> str:
        """Give the position of the last sample that is durable."""
        ...

    def write(self, samples: Sequence[tuple[str, bytes]]) -> None:
        """Take samples (position, JSON) in the order of the stream; they need not be durable yet."""
        ...

    def flush(self) -> None:
        """Make all that was taken durable."""
        ...

    def rewind(self, count: int) -> None:
        """Declare everything behind the first `count` samples outdated, and stand there."""
        ...


class Target(Struct, frozen=True, kw_only=True):
    """What the outputs of a feed need to know: its name, its shards, and the settings of the section [output]."""

    feed: str
    shards: int
    topic: str
    path: str
    rows_per_file: int
    seconds_per_file: float
    labels: Literal["number", "json"]

    def tp(self, shard: int) -> Tp:
        """Give a shard's partition."""
        return Tp(self.topic, shard)


class Writer:
    """Writes a feed's samples to its outputs, one a shard. After any exception it is thrown away with its outputs."""

    def __init__(self, store: Store, feed: str, outputs: Sequence[Output]) -> None:
        self._store, self._feed, self._outputs = store, feed, outputs
        self._samples = Samples(store, feed, len(outputs), {s: o.position() for s, o in enumerate(outputs)})
        self._trimmed = [NOTHING] * len(outputs)

    def step(self, block_ms: int) -> bool:
        """Write what is there, or wait up to `block_ms` for some; True once all is written and no more will come.

        Raises:
            HistoryChanged: the store went back in time; the text says which samples of the output are outdated.
        """
        found = 0
        for shard, output in enumerate(self._outputs):
            taken = self._take(shard)
            output.write(taken)
            self._trim(shard)
            found += len(taken)
        if found or not self._samples.wait(block_ms):
            return False
        self.flush()
        return True

    def flush(self) -> None:
        """Make everything durable that was read."""
        for shard, output in enumerate(self._outputs):
            output.flush()
            self._trim(shard)

    def _take(self, shard: int) -> list[tuple[str, bytes]]:
        try:
            return self._samples.take(shard)
        except HistoryChanged as wrong:
            raise self._outdated(shard, wrong) from None

    def _trim(self, shard: int) -> None:
        """Trim up to what is durable. Only ever after a read, which has shown that the stream holds that position."""
        position = self._outputs[shard].position()
        if position != self._trimmed[shard]:
            self._samples.done(shard, position)
            self._trimmed[shard] = position

    def _outdated(self, shard: int, wrong: HistoryChanged) -> HistoryChanged:
        output, kept = self._outputs[shard], trim_point(self._store, self._feed, shard)
        if number(output.position()) < kept:
            return HistoryChanged(
                f"{output.place} ends with sample {number(output.position())} of shard {shard}, but the stream begins "
                f"after {kept}: those between went to another output. Bring that one back, or give the feed a new name "
                "to join its topics again"
            )
        return HistoryChanged(
            f"the store went back in time: {wrong}. In {output.place} the samples after {kept} are outdated and come "
            "again with other contents; `shadowstream join --rewind` marks them so and goes on from there"
        )


def rewind(store: Store, feed: str, outputs: Sequence[Output]) -> list[str]:
    """Take outputs back to where the store's streams begin, if those no longer hold their positions; give their places.

    The streams are trimmed only to durable positions, so whatever they begin after was in the output.

    Raises:
        HistoryChanged: the output holds no sample there.
    """
    done = []
    for shard, output in enumerate(outputs):
        try:
            store.read(feed, shard, output.position(), 1)
        except HistoryChanged:
            output.rewind(trim_point(store, feed, shard))
            store.read(feed, shard, output.position(), 1)
            done.append(output.place)
    return done


def trim_point(store: Store, feed: str, shard: int) -> int:
    """Give the number of the sample that the last trim kept, of which the shard's stream is the continuation."""
    state = store.shard(feed, shard)
    return state.seq - state.unread
