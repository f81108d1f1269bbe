"""What became no sample, or not yet, and a line of advice for each: by how much it missed, and what to change.

Owns the words. Does not know who shows them.
"""

from collections.abc import Iterator, Mapping, Sequence
from statistics import median_low, quantiles

from streams.join.policy import JoinPolicy
from streams.join.step import ShardState

UNITS = (("days", 86_400_000), ("hours", 3_600_000), ("minutes", 60_000), ("s", 1_000))


def span(ms: float) -> str:
    """Return a length of time in its largest unit.

    >>> span(518_400_000), span(600_000), span(1_500), span(20)
    ('6 days', '10 minutes', '1.5 s', '0.02 s')
    """
    unit, length = next(((unit, length) for unit, length in UNITS if abs(ms) >= 1.5 * length), UNITS[-1])
    return f"{round(ms / length, 1 if abs(ms) >= length else 3):g} {unit}"


def advice(shards: Sequence[ShardState], policy: JoinPolicy, predictions: str, outcomes: str) -> list[str]:
    """Return a line for each kind of event that became no sample, or not yet; the last two are the topics' names."""
    counts = {name: sum(shard.counters[name] for shard in shards) for name in shards[0].counters}
    ahead = sum(at.ahead for shard in shards for at in shard.partitions.values())
    return [
        *_late(counts, _by_ms(shards, "late", "outcome_closed"), policy),
        *_too_late(counts, shards, policy),
        *_ahead(ahead, policy),
        *_orphans(counts, shards, policy),
        *_early(counts, policy),
        *_waiting(counts, shards, policy, predictions, outcomes),
    ]


def _by_ms(shards: Sequence[ShardState], *counters: str) -> list[int]:
    return [ms for shard in shards for one in shard.missed if one.counter in counters for ms in one.by_ms]


def _late(counts: Mapping[str, int], by_ms: Sequence[int], policy: JoinPolicy) -> Iterator[str]:
    late, closed = counts["late"], counts["outcome_closed"]
    if not late + closed or not by_ms or policy.late == "correct":
        return
    half, window_ms = median_low(by_ms), policy.window_s * 1_000
    known = f"half of the last {len(by_ms):,} are dated" if len(by_ms) > 1 else "it is dated"
    head = (
        f"{late + closed:,} outcomes came after their window and became no sample ({late:,} by their own time, "
        f"{closed:,} when it had closed): {known} {span(half)} or more after their prediction, join.window_s is "
        f"{span(window_ms)}"
    )
    if half > window_ms:
        most = quantiles(by_ms, n=10, method="inclusive")[-1] if len(by_ms) > 1 else by_ms[0]
        yield f"{head}; raise join.window_s to {-(-most // 1_000):.0f} ({span(most)}) or more"
    else:
        yield f"{head}, so they were read too late; raise join.slack_s, or join.idle_s above your producers' pauses"


def _too_late(counts: Mapping[str, int], shards: Sequence[ShardState], policy: JoinPolicy) -> Iterator[str]:
    count, silent = counts["prediction_too_late"] + counts["outcome_too_late"], counts["too_late_silent"]
    by_ms = _by_ms(shards, "prediction_too_late", "outcome_too_late")
    if not count or not by_ms:
        return
    head = (
        f"{counts['prediction_too_late']:,} predictions and {counts['outcome_too_late']:,} outcomes were too late and "
        f"dropped: half of the last {len(by_ms):,} are dated {span(median_low(by_ms))} or more before the watermark, "
        f"join.window_s and join.keep_s are {span((policy.window_s + policy.keep_s) * 1_000)} together"
    )
    if silent * 2 > count:
        yield (
            f"{head}; {silent:,} came from a partition that had been silent while others went on"
            f"{_last(shards, policy)}: raise join.idle_s, or correct the clock that lags"
        )
    else:
        came = f"{count - silent:,} came after newer ones of their partition"
        yield f"{head}; {came}: raise join.slack_s or join.keep_s, or correct the clock that lags"


def _last(shards: Sequence[ShardState], policy: JoinPolicy) -> str:
    """Return the words for the partition whose newest event is the oldest, where it is too late by now."""
    after_ms = (policy.window_s + policy.keep_s) * 1_000
    heard = [
        (shard.watermark_ms - at.newest_ms, tp)
        for shard in shards
        for tp, at in shard.partitions.items()
        if at.newest_ms >= 0
    ]
    behind_ms, tp = max(heard, default=(0, ""))
    return f" ({tp}, whose newest event is {span(behind_ms)} before the watermark)" if behind_ms > after_ms else ""


def _ahead(count: int, policy: JoinPolicy) -> Iterator[str]:
    if count:
        yield (
            f"{count:,} records were refused, because they are dated more than {span(policy.max_ahead_s * 1_000)} "
            "(join.max_ahead_s) after the store's clock: correct that producer's clock or unit; `shadowstream dead "
            "list` shows them"
        )


def _orphans(counts: Mapping[str, int], shards: Sequence[ShardState], policy: JoinPolicy) -> Iterator[str]:
    if not counts["orphan"]:
        return
    ids = [one.example for shard in shards for one in shard.missed if one.counter == "orphan"]
    such, window = f", such as {ids[0]!r}" if ids else "", span(policy.window_s * 1_000)
    yield (
        f"{counts['orphan']:,} outcomes had no prediction within {window} (join.window_s){such}: do both topics write "
        "the same ids?"
    )


def _early(counts: Mapping[str, int], policy: JoinPolicy) -> Iterator[str]:
    if counts["early_refused"]:
        yield (
            f"{counts['early_refused']:,} outcomes were refused, because {policy.most_early:,} others of their shard "
            "(join.most_early) waited for a prediction too: either predictions lag, or somebody writes ids that nobody "
            "asked for; raise join.most_early if the store has room"
        )


def _waiting(
    counts: Mapping[str, int], shards: Sequence[ShardState], policy: JoinPolicy, predictions: str, outcomes: str
) -> Iterator[str]:
    waiting, window = counts["waiting"], span(policy.window_s * 1_000)
    if waiting:
        why = ""
        if not counts["outcomes"]:
            why = f"; no outcome was read yet from {outcomes}"
        elif not counts["used"]:
            why = f"; none of {counts['outcomes']:,} outcomes has met one: do both topics write the same ids?"
        yield f"{waiting:,} predictions wait for an outcome until their window of {window} (join.window_s) closes{why}"
    elif counts["early"] and not counts["predictions"]:
        yield f"{counts['early']:,} outcomes wait for their prediction; none was read yet from {predictions}"
    unheard = sorted({tp for shard in shards for tp, at in shard.partitions.items() if at.t_ms < 0})
    if unheard and waiting and len(unheard) < len(shards[0].partitions):
        have = "has" if len(unheard) == 1 else "have"
        yield (
            f"no window closes before {', '.join(unheard)} {have} brought eight events, or nothing for "
            f"{span(policy.idle_s * 1_000)} (join.idle_s)"
        )
