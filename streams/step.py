"""What goes into one step of the join and what comes back: types, and their bytes for join.lua.

Owns the layout that join.lua reads and writes, in this order of fields. Knows neither Redis nor Kafka.
"""

from collections.abc import Mapping

import msgspec
from msgspec import Struct

COUNTERS = (
    "predictions", "prediction_duplicate", "prediction_too_late", "opened", "joined", "negative", "unlabelled",
    "waiting", "outcomes", "outcome_duplicate", "outcome_too_late", "used", "early", "late", "orphan", "corrected",
)  # fmt: skip


class Move(Struct, array_like=True):
    """One partition's part of a step: from where to where, and what lay between. -1 stands for "none".

    `last` and `crc` are the last record read; `t` the largest event time; `records`, `rejected`, `holes` and `lost`
    count positions. A rejected or empty position is counted by shard 0 alone. `idle` claims that nothing comes.
    """

    tp: str
    start: int
    end: int
    last: int = -1
    crc: int = 0
    t: int = -1
    records: int = 0
    rejected: int = 0
    holes: int = 0
    lost: int = 0
    outcomes: int = 0
    idle: int = 0


class Step(Struct, array_like=True):
    """One script call. The events are four lists of equal length: index into `moves` (from 1), id, time, JSON text."""

    token: str
    window_ms: int
    keep_ms: int
    slack_ms: int
    max_ahead_ms: int
    closing: int = 0
    moves: list[Move] = msgspec.field(default_factory=list)
    which: list[int] = msgspec.field(default_factory=list)
    ids: list[str] = msgspec.field(default_factory=list)
    times: list[int] = msgspec.field(default_factory=list)
    bodies: list[str] = msgspec.field(default_factory=list)


class Position(Struct, array_like=True, frozen=True):
    """What a shard knows of a partition: `t_ms` its time (-1: none yet), `next` the first offset not yet applied.

    `last` (-1: none) and `crc` are the last record read, `start` where the feed began. The equation: over all shards
    at one position, next - start = records + rejected + holes + lost.
    """

    t_ms: int
    next: int
    last: int
    crc: int
    start: int
    records: int = 0
    rejected: int = 0
    holes: int = 0
    lost: int = 0


class ShardState(Struct, array_like=True, frozen=True):
    """A shard in one atomic look, or right after a step.

    `unread` samples are in the stream behind the one that the last trim kept; `due` windows and markers (counted up to
    one step's worth) wait for the next step; `positions` are by "topic:partition".
    """

    seq: int
    chain: str
    watermark_ms: int
    now_ms: int
    last_id: str
    unread: int
    ending: bool
    windows: int
    markers: int
    due: int
    counters: Mapping[str, int]
    positions: Mapping[str, Position]


pack = msgspec.msgpack.Encoder().encode
unpack = msgspec.msgpack.Decoder(ShardState, strict=False).decode
