"""What goes into one step of the join and what comes back: types, and their bytes for join.lua.

Owns the layout that join.lua reads and writes: the order of the fields. Knows neither Redis nor Kafka.
"""

from collections.abc import Mapping, Sequence
from json.encoder import encode_basestring_ascii as quoted  # in C

import msgspec
from msgspec import Struct

from streams.join.policy import JoinPolicy

COUNTERS = (
    "predictions", "prediction_duplicate", "prediction_too_late", "opened", "joined", "negative", "unlabelled",
    "waiting", "outcomes", "outcome_duplicate", "outcome_too_late", "used", "early", "late", "orphan", "capped",
    "corrected", "restored", "marked", "conflict", "outcome_closed", "too_late_silent",
    "early_refused",
)  # fmt: skip


FORGET = -2  # as `Move.last`: the record last read is no longer in the log
RECENT = 32  # event times that say how far a partition is; RECENT in join.lua
SPREAD = 12  # coprime to RECENT - 1, and of all such the one by which any part of the numbers is spread most evenly


class Move(Struct, array_like=True):
    """One partition's part of a step: the offsets from `start` to before `end`, and what they hold.

    `last` and `crc` are offset and checksum of the last record read (-1: there is none); `t_ms` is the largest event
    time (-1: there is none), `recent` what `recent` returns of all event times. `records`, `rejected`, `holes` and
    `lost` count offsets; shard 0 alone counts those that hold no event. `idle` claims that nothing more comes for now,
    `ended` that a feed that has ended was read to its end. Of the rejected, `ahead` were dated too far ahead; `dates`
    replaces `PartitionState.dates`, unless it is empty. These two are shard 0's as well. `held` is what the shard is to
    keep of refused positions without a letter of their own (None: what it keeps).
    """

    tp: str
    start: int
    end: int
    last: int = -1
    crc: int = 0
    t_ms: int = -1
    records: int = 0
    rejected: int = 0
    holes: int = 0
    lost: int = 0
    outcomes: int = 0
    idle: int = 0
    ended: int = 0
    held: str | None = None
    recent: list[int] = msgspec.field(default_factory=list)
    ahead: int = 0
    dates: str = ""


class Rules(Struct, array_like=True, frozen=True):
    """A policy as the script takes it. `negative` is the label's JSON text, empty where absence is not a negative.

    `marks` are the ages at which a prediction that still waits is marked (`marking`). While a shard holds `most_early`
    outcomes whose prediction has not come, more of them are refused.
    """

    window_ms: int
    keep_ms: int
    slack_ms: int
    max_ahead_ms: int
    at_close: int = 0
    negative: str = ""
    reduce: str = "first"
    most: int = 64
    correct: int = 0
    marks: tuple[int, ...] = ()
    most_early: int = 1_000_000

    @classmethod
    def of(cls, policy: JoinPolicy) -> "Rules":
        """Return a policy's rules."""
        p = policy
        window, keep, slack, ahead = (round(s * 1_000) for s in (p.window_s, p.keep_s, p.slack_s, p.max_ahead_s))
        label = f"{p.negative_label:.17g}" if p.absent == "negative" else ""
        late = int(p.late == "correct")
        return cls(
            window, keep, slack, ahead, int(p.at_close), label, p.reduce, p.most_outcomes, late, most_early=p.most_early
        )

    def marking(self, ages_ms: Sequence[int]) -> "Rules":
        """Return the rules with marks at these ages, which rise; at the window's end only an unlabelled one waits.

        >>> Rules.of(JoinPolicy(window_s=60)).marking([1_000, 60_000, 3_600_000]).marks
        (1000, 60000)
        """
        last_ms = self.window_ms - bool(self.negative)
        return msgspec.structs.replace(self, marks=tuple(age for age in ages_ms if age <= last_ms))


class Step(Struct, array_like=True):
    """One script call. The events are five lists of equal length: index into `moves` (from 1), id, time, item, body.

    Items and bodies are the two texts that `prediction_entry` and `outcome_entry` return. `note` says what an operator
    did, who and why; it is kept with the shard. `arrived_ms` is when the events had come, by the store's clock; 0: now.
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
    arrived_ms: int = 0


def prediction_entry(key: str, t_ms: int, content: str, window_ms: int) -> tuple[str, str]:
    """Return what a shard keeps of a prediction: the item of its window, and its entry."""
    return f"{t_ms + window_ms}:{key}", f'w{t_ms},"prediction":{content}}}'


def outcome_entry(key: str, t_ms: int, label: str, stay_ms: int) -> tuple[str, str]:
    """Return what a shard keeps of an outcome: the item of its marker, and a sample's middle (see join.lua).

    `stay_ms` is window and keep together.
    """
    return f"{t_ms + stay_ms}:{key}", f'{label},"label_t":{t_ms},"id":{quoted(key)},"t":'


def recent(times: Sequence[int]) -> list[int]:
    """Return at most `RECENT` of some events' times, which stand for all; the last event's comes last.

    Of many these are quantiles, so that what a minority says stays a minority's word, in an order in which any part of
    them stands for all, too.

    >>> recent([5, 3])
    [5, 3]
    >>> sorted(recent([*range(1_000, 1_600), *[9_999] * 400]))[RECENT // 2]
    1532
    """
    count, shares = len(times), RECENT - 1
    if count <= RECENT:
        return list(times)
    ordered = sorted(times)
    return [ordered[(2 * (i * SPREAD % shares) + 1) * count // (2 * shares)] for i in range(shares)] + [times[-1]]


class PartitionState(Struct, array_like=True, frozen=True):
    """What a shard knows of a partition.

    `t_ms` is its event time (-1: not heard yet): what half of its recent events have reached; `newest_ms` is the
    largest of all. `next` is the next offset to apply. `last` and `crc` are offset and
    checksum of the last record read (-1: there is none); `start` is the offset where the feed began. `ended` says that
    it was read to its end after the command `end-of-feed`; `since_ms` is the watermark when it was added to a running
    feed. Where all shards have the same `next`, summed over them: next - start = records + rejected + holes + lost.
    Of the rejected, `ahead` were dated too far ahead. `dates` is what `dates.py` keeps of the first events.
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
    held: str = ""
    newest_ms: int = -1
    ahead: int = 0
    dates: str = ""


class Missed(Struct, array_like=True, frozen=True):
    """What one counter of events that became no sample counted last.

    `values` has by how many milliseconds the last ones missed, in any order, separated by spaces: outcomes that were
    late or came after a closed window, how long after their prediction; events too late, those refused for being early,
    and orphans when they were given up, how long before the watermark. `example` is an id.
    """

    counter: str
    values: str
    example: str

    @property
    def by_ms(self) -> list[int]:
        """The values as numbers."""
        return [int(value) for value in self.values.split()]


class ShardState(Struct, array_like=True, frozen=True):
    """A shard in one atomic read, or right after a step.

    `unread` counts the samples in the stream after the one that the last trim kept; `due` counts the windows, markers
    and marks that the next step will take (up to the most that one step takes); `partitions` are by name,
    "topic:partition"; `missed` says of what became no sample by how much it missed. Up to `told_ms` every window has
    closed that was to, and every mark is emitted; at most the watermark.
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
    missed: tuple[Missed, ...] = ()
    told_ms: int = -1


pack = msgspec.msgpack.Encoder().encode
unpack = msgspec.msgpack.Decoder(ShardState, strict=False).decode
