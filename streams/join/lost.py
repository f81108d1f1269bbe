"""Records that retention removed before they were read: counts them, and moves the shards past them.

Owns the count, so that the equation of each partition holds afterwards. Does not know who decides to accept a loss.
"""

import secrets
from collections.abc import Sequence

from msgspec import Struct

from streams.errors import ConfigError, LogReplaced, StoreRefused
from streams.join.batch import LAST_TIME_MS, Readers, decode, fill
from streams.join.step import FORGET, Move, PartitionState, Rules, ShardState, Step
from streams.join.store import Store
from streams.kafka import Source, Tp, crc
from streams.kafka.reading.scan import scan
from streams.kafka.records import tp_name


class Loss(Struct, frozen=True):
    """A lost range of one partition: from the least next offset of all shards, `start`, to the log's start, `end`.

    `lost` of its offsets were read by no shard; `lagging` maps each shard to move to its next offset.
    """

    tp: str
    start: int
    end: int
    lost: int
    lagging: dict[int, int]


def find(states: Sequence[ShardState], source: Source, tp: Tp, readers: Readers, rules: Rules) -> Loss:
    """Find what a partition has lost.

    Raises:
        ConfigError: nothing is lost.
        LogReplaced: the log is not the one that was read.
    """
    known = [state.partitions[tp_name(tp)] for state in states]
    begin, end = source.starts()[tp], source.ends()[tp]
    for one in known:
        _check_same(source, tp, one, begin, end)
    lagging = {shard: one.next for shard, one in enumerate(known) if one.next < begin}
    if not lagging:
        least = min(one.next for one in known)
        raise ConfigError(
            f"nothing is lost of {tp_name(tp)}: the log starts at {begin}, and the next to read is {least}"
        )
    counted = sum(one.records + one.rejected + one.holes + one.lost for one in known)
    counted -= _counted_after(states, source, tp, begin, readers, rules)
    return Loss(tp_name(tp), min(lagging.values()), begin, begin - known[0].start - counted, lagging)


def accept(store: Store, feed: str, loss: Loss, rules: Rules, note: str) -> None:
    """Move the lagging shards to the log's start; the first of them counts what is lost.

    Raises:
        StoreRefused: a shard has moved meanwhile; look again.
    """
    lost = loss.lost
    for shard, start in loss.lagging.items():
        move = Move(loss.tp, start, loss.end, last=FORGET, lost=lost)
        state = store.step(feed, shard, Step(secrets.token_hex(16), rules, [move], note=note))
        if state.partitions[loss.tp].next != loss.end:
            raise StoreRefused(f"{feed}.{shard}: the shard has moved on from {start} meanwhile; look again")
        lost = 0


def _check_same(source: Source, tp: Tp, at: PartitionState, begin: int, end: int) -> None:
    """Refuse a log that is not the one that was read, as far as it is still there."""
    if end < at.next:
        raise LogReplaced(f"{tp_name(tp)}: the next offset is {at.next}, but the log ends at {end}; it was replaced")
    if at.last >= begin:
        record = source.read(tp, at.last)
        if record is None or crc(record) != at.crc:
            raise LogReplaced(f"{tp_name(tp)}: offset {at.last} holds another record than the one that was read")


def _counted_after(
    states: Sequence[ShardState], source: Source, tp: Tp, begin: int, readers: Readers, rules: Rules
) -> int:
    """Return how many offsets from the log's start on the shards that lead have counted."""
    counted = 0
    for shard, state in enumerate(states):
        end = state.partitions[tp_name(tp)].next
        for polled in scan(source, {tp: (begin, end)} if end > begin else {}):
            step = Step("", rules)
            batch = decode(polled, readers, len(states), rules, LAST_TIME_MS)
            fill(step, shard, len(states), batch, begin)
            counted += sum(move.records + move.rejected + move.holes for move in step.moves)
    return counted
