"""Records that retention removed before they were read: how many, and going on behind them.

Owns the count, so that the positions' equation holds afterwards. Does not know who decides to accept a loss.
"""

import secrets
from collections.abc import Sequence

from msgspec import Struct

from streams.errors import ConfigError, LogReplaced, StoreRefused
from streams.join.batch import LAST_TIME_MS, Readers, decode, fill
from streams.join.step import FORGET, Move, PartitionState, Rules, ShardState, Step
from streams.join.store import Store
from streams.kafka import Source, Tp, crc
from streams.kafka.records import tp_name
from streams.kafka.scan import scan


class Loss(Struct, frozen=True):
    """A lost range of one partition: `start` is where the hindmost shard stands, `end` where the log starts.

    `lost` positions of it were read by no shard; `behind` are the shards to move, with their next offsets.
    """

    tp: str
    start: int
    end: int
    lost: int
    behind: dict[int, int]


def find(states: Sequence[ShardState], source: Source, tp: Tp, readers: Readers, rules: Rules) -> Loss:
    """Find what is lost of a partition.

    Raises:
        ConfigError: nothing is.
        LogReplaced: the log is not the one that was read.
    """
    places = [state.partitions[tp_name(tp)] for state in states]
    begin, end = source.starts()[tp], source.ends()[tp]
    for at in places:
        _same(source, tp, at, begin, end)
    behind = {shard: at.next for shard, at in enumerate(places) if at.next < begin}
    if not behind:
        least = min(at.next for at in places)
        raise ConfigError(
            f"nothing is lost of {tp_name(tp)}: the log starts at {begin}, and the next to read is {least}"
        )
    counted = sum(at.records + at.rejected + at.holes + at.lost for at in places)
    further = _counted_behind(states, source, tp, begin, readers, rules)
    return Loss(tp_name(tp), min(behind.values()), begin, begin - places[0].start - counted + further, behind)


def accept(store: Store, feed: str, loss: Loss, rules: Rules, note: str) -> None:
    """Move the shards that are behind to the log's start; the first of them counts what is lost.

    Raises:
        StoreRefused: a shard has moved meanwhile; look again.
    """
    lost = loss.lost
    for shard, start in loss.behind.items():
        move = Move(loss.tp, start, loss.end, last=FORGET, lost=lost)
        state = store.step(feed, shard, Step(secrets.token_hex(16), rules, [move], note=note))
        if state.partitions[loss.tp].next != loss.end:
            raise StoreRefused(f"{feed}.{shard}: the shard has moved on from {start} meanwhile; look again")
        lost = 0


def _same(source: Source, tp: Tp, at: PartitionState, begin: int, end: int) -> None:
    """Make sure that the log is the one that was read, as far as it is still there."""
    if end < at.next:
        raise LogReplaced(f"{tp_name(tp)}: the next offset is {at.next}, but the log ends at {end}; it was replaced")
    if at.last >= begin:
        record = source.read(tp, at.last)
        if record is None or crc(record) != at.crc:
            raise LogReplaced(f"{tp_name(tp)}: offset {at.last} holds another record than the one that was read")


def _counted_behind(
    states: Sequence[ShardState], source: Source, tp: Tp, begin: int, readers: Readers, rules: Rules
) -> int:
    """Count the positions behind the log's start that shards ahead of the others have counted."""
    counted = 0
    for shard, state in enumerate(states):
        end = state.partitions[tp_name(tp)].next
        for polled in scan(source, {tp: (begin, end)} if end > begin else {}):
            step = Step("", rules)
            batch = decode(polled, readers, len(states), rules, LAST_TIME_MS)
            fill(step, shard, len(states), batch, begin)
            counted += sum(move.records + move.rejected + move.holes for move in step.moves)
    return counted
