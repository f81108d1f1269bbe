"""Writes samples from the streams into outputs, each id and revision exactly once.

Owns the order: ask the output for its last durable position, read the stream after it, write, and trim the stream only
up to what is durable. All state is in the output and the stream. Does not know what an output is made of.
"""

from collections.abc import Sequence
from typing import Literal, Protocol

from msgspec import Struct

from streams.errors import HistoryChanged
from streams.join.store import NOTHING, Store, StoredSample
from streams.kafka import Tp
from streams.outputs.samples import Samples, number


class Output(Protocol):
    """One shard's part of an output. Positions are those of the sample stream; NOTHING is before the first sample.

    `name` is what messages call it.
    """

    name: str

    def position(self) -> str:
        """Return the position of the last sample that is durable."""
        ...

    def write(self, samples: Sequence[StoredSample]) -> None:
        """Take samples in the order of the stream; they need not be durable yet."""
        ...

    def flush(self) -> None:
        """Make all that was taken durable."""
        ...

    def rewind(self, count: int) -> None:
        """Mark every sample after the first `count` as outdated; the position becomes that of sample `count`."""
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
        """Return a shard's partition of the topic."""
        return Tp(self.topic, shard)


class Writer:
    """Writes a feed's samples to its outputs, one for each shard. After an exception, make both anew."""

    def __init__(self, store: Store, feed: str, outputs: Sequence[Output]) -> None:
        self._store, self._feed, self._outputs = store, feed, outputs
        self._samples = Samples(store, feed, len(outputs), {s: o.position() for s, o in enumerate(outputs)})
        self._trimmed = [NOTHING] * len(outputs)

    def step(self, block_ms: int) -> bool:
        """Write the samples that are there, or wait up to `block_ms` for some.

        Return True once all is written and no more will come.

        Raises:
            HistoryChanged: the store went back in time; the text says which samples of the output are outdated.
        """
        count = 0
        for shard, output in enumerate(self._outputs):
            samples = self._take(shard)
            output.write(samples)
            self._trim(shard)
            count += len(samples)
        if count or not self._samples.wait(block_ms):
            return False
        self.flush()
        return True

    def flush(self) -> None:
        """Make durable everything that was read."""
        for shard, output in enumerate(self._outputs):
            output.flush()
            self._trim(shard)

    def _take(self, shard: int) -> list[StoredSample]:
        try:
            return self._samples.take(shard)
        except HistoryChanged as wrong:
            raise self._outdated(shard, wrong) from None

    def _trim(self, shard: int) -> None:
        """Trim up to what is durable; only after a read, which has shown that the stream holds that position."""
        position = self._outputs[shard].position()
        if position != self._trimmed[shard]:
            self._samples.done(shard, position)
            self._trimmed[shard] = position

    def _outdated(self, shard: int, wrong: HistoryChanged) -> HistoryChanged:
        output, begins_after = self._outputs[shard], trim_point(self._store, self._feed, shard)
        if number(output.position()) < begins_after:
            return HistoryChanged(
                f"{output.name} ends with sample {number(output.position())} of shard {shard}, but the stream begins "
                f"after sample {begins_after}: those between went to another output. Configure that one again, or give "
                "the feed a new name to join its topics from the start"
            )
        return HistoryChanged(
            f"the store went back in time: {wrong}. In {output.name} the samples after {begins_after} are outdated and "
            "come again with other contents; `shadowstream join --rewind` marks them as outdated and goes on from there"
        )


def rewind(store: Store, feed: str, outputs: Sequence[Output]) -> list[str]:
    """Take back each output whose position its stream no longer holds, to where that stream begins; return their names.

    A stream is trimmed only to a durable position, so the output has the sample after which the stream begins.

    Raises:
        HistoryChanged: the output holds no sample there.
    """
    names = []
    for shard, output in enumerate(outputs):
        try:
            store.read(feed, shard, output.position(), 1)
        except HistoryChanged:
            output.rewind(trim_point(store, feed, shard))
            store.read(feed, shard, output.position(), 1)
            names.append(output.name)
    return names


def trim_point(store: Store, feed: str, shard: int) -> int:
    """Return the number of the sample after which the shard's stream begins: the one that the last trim kept."""
    state = store.shard(feed, shard)
    return state.seq - state.unread
