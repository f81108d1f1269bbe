"""What goes into one step of the join and what comes back: types, and their bytes for join.lua.

Owns the layout that join.lua reads and writes, in this order of fields. Knows neither Redis nor Kafka.
"""

from collections.abc import Mapping
from json.encoder import encode_basestring_ascii as quoted  # in C

import msgspec
from msgspec import Struct

from streams.join.policy import JoinPolicy

COUNTERS = (
    "predictions", "prediction_duplicate", "prediction_too_late", "opened", "joined", "negative", "unlabelled",
    "waiting", "outcomes", "outcome_duplicate", "outcome_too_late", "used", "early", "late", "orphan", "capped",
    "corrected", "restored", "conflict",
)  # fmt: skip


class Move(Struct, array_like=True):
    """One partition's part of a step: from where to where, and what lay between. -1 stands for "none".

    `last` and `crc` are the last record read (`last` -2: forget it); `t` the largest event time; `records`, `rejected`,
    `holes` and `lost` count positions. A rejected or empty position is counted by shard 0 alone. `idle` claims that
    nothing comes, `ended` that the end of a feed that was ended has been read.
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
    ended: int = 0


class Rules(Struct, array_like=True, frozen=True):
    """A policy as the script takes it. `negative` is the label's JSON text, empty where absence means nothing."""

    window_ms: int
    keep_ms: int
    slack_ms: int
    max_ahead_ms: int
    at_close: int = 0
    negative: str = ""
    reduce: str = "first"
    most: int = 64
    correct: int = 0

    @classmethod
    def of(cls, policy: JoinPolicy) -> "Rules":
        """Give a policy's rules."""
        p = policy
        window, keep, slack, ahead = (round(s * 1_000) for s in (p.window_s, p.keep_s, p.slack_s, p.max_ahead_s))
        label = f"{p.negative_label:.17g}" if p.absent == "negative" else ""
        late = int(p.late == "correct")
        return cls(window, keep, slack, ahead, int(p.at_close), label, p.reduce, p.most_outcomes, late)


class Step(Struct, array_like=True):
    """One script call. The events are five lists of equal length: index into `moves` (from 1), id, time, item, text.

    Item and text are what `asked` and `told` make, ready to be stored.
    `note` is an operator's: what was done, by whom and why; it is kept with the shard.
    """

    token: str
    rules: Rules
    moves: list[Move] = msgspec.field(default_factory=list)
    which: list[int] = msgspec.field(default_factory=list)
    ids: list[str] = msgspec.field(default_factory=list)
    times: list[int] = msgspec.field(default_factory=list)
    items: list[str] = msgspec.field(default_factory=list)
    bodies: list[str] = msgspec.field(default_factory=list)
    note: str = ""


def asked(key: str, t_ms: int, content: str, window_ms: int) -> tuple[str, str]:
    """Give a prediction as the shard keeps it: the item of its window, and its entry."""
    return f"{t_ms + window_ms}:{key}", f'w{t_ms},"prediction":{content}}}'


def told(key: str, t_ms: int, label: str, stay_ms: int) -> tuple[str, str]:
    """Give an outcome as the shard takes it: its marker's item (`stay_ms`: window and keep), and a sample's middle."""
    return f"{t_ms + stay_ms}:{key}", f'{label},"label_t":{t_ms},"id":{quoted(key)},"t":'


class PartitionState(Struct, array_like=True, frozen=True):
    """What a shard knows of a partition: `t_ms` its time (-1: none yet), `next` the first offset not yet applied.

    `last` (-1: none) and `crc` are the last record read, `start` where the feed began; `ended`: its end was read after
    the command `end-of-feed`; `since_ms`: the watermark when it was added to a feed that ran. The equation: over all
    shards at one position, next - start = records + rejected + holes + lost.
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
    ended: int = 0
    since_ms: int = 0


class ShardState(Struct, array_like=True, frozen=True):
    """A shard in one atomic look, or right after a step.

    `unread` samples are in the stream behind the one that the last trim kept; `due` windows and markers (counted up to
    one step's worth) wait for the next step; `partitions` are by name, "topic:partition".
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
    partitions: Mapping[str, PartitionState]


pack = msgspec.msgpack.Encoder().encode
unpack = msgspec.msgpack.Decoder(ShardState, strict=False).decode
