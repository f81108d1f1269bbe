"""One look at a join: what was read, joined and refused, summed over its shards. Does not know how a join is run."""

from collections.abc import Sequence

from msgspec import Struct

from deploy.doubts import Judge, Judged, newest_ms
from streams.join.dates import Doubt
from streams.join.step import ShardState
from streams.join.store import Store

COUNTED = (
    "predictions", "outcomes", "joined", "negative", "corrected", "unlabelled", "waiting", "early", "late",
    "outcome_closed", "orphan", "early_refused", "prediction_too_late", "outcome_too_late", "too_late_silent",
)  # fmt: skip


class JoinView(Struct, frozen=True, kw_only=True):
    """One look at a join, summed over its shards; the last one is its summary.

    `events` were read, of which `rejected` went to the dead letters; `waiting` predictions have an open window;
    `samples` were emitted, of which `unread` are not written yet (or not read, where they stay in the stream). `at_ms`
    is the newest event's time, and the watermark lags it by `lag_ms`. The join has run for `seconds`. The counters'
    meanings are in `deploy/registry/kinds.py`; `warnings` and `advice` say what is wrong, and what to change. `held`
    has a line for each partition that an open transaction holds.
    """

    feed: str
    at_ms: int
    lag_ms: int
    events: int
    rejected: int
    predictions: int
    outcomes: int
    joined: int
    negative: int
    corrected: int
    unlabelled: int
    waiting: int
    early: int
    late: int
    outcome_closed: int
    orphan: int
    early_refused: int
    prediction_too_late: int
    outcome_too_late: int
    too_late_silent: int
    ahead: int
    samples: int
    unread: int
    seconds: float
    held: list[str] = []
    warnings: list[Doubt] = []
    advice: list[str] = []

    @property
    def counters(self) -> dict[str, int]:
        """Its counters by name."""
        return {name: getattr(self, name) for name in (*COUNTED, "rejected", "ahead")}


def states(store: Store, judge: Judge) -> list[ShardState]:
    """Read all shards."""
    return [store.shard(judge.feed, shard) for shard in range(judge.policy.shards)]


def look(shards: Sequence[ShardState], judged: Judged, feed: str, seconds: float, held: Sequence[str] = ()) -> JoinView:
    """Return the sums over the shards."""
    positions = [at for shard in shards for at in shard.partitions.values()]
    at_ms, watermark_ms = newest_ms(shards), min(shard.watermark_ms for shard in shards)
    return JoinView(
        held=list(held),
        feed=feed,
        at_ms=at_ms,
        lag_ms=max(0, at_ms - watermark_ms) if watermark_ms > 0 else 0,
        events=sum(at.records for at in positions),
        rejected=sum(at.rejected for at in positions),
        samples=sum(shard.seq for shard in shards),
        unread=sum(shard.unread for shard in shards),
        ahead=sum(at.ahead for at in positions),
        seconds=round(seconds, 3),
        warnings=judged.warnings,
        advice=judged.advice,
        **{name: sum(shard.counters[name] for shard in shards) for name in COUNTED},
    )
