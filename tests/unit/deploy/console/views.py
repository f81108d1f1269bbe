"""A look at a loop, as it is in the middle of a run, and a shard of its join."""

from deploy.monitor import View
from deploy.registry.notes import MetricName, Metrics, Row, TrialNote
from deploy.registry.records import Candidate, Champion, Figures
from learners.evaluation.verdict import Decision, Verdict
from streams.join.step import COUNTERS, PartitionState, ShardState

DAY_MS = 86_400_000
BEGIN_MS = 1_359_676_800_000  # February 1st, 2013
FIGURES = Figures(
    sparsity=0.76, artifact_bytes=16_000, float_bytes=100_800, parity_largest=0.0, parity_changed=0.0, loss=0.5,
    teacher_loss=0.49, seconds=0.4,
)  # fmt: skip
BINARY = (MetricName("log loss", "nats"), MetricName("AUC", ""))
VALUES = {
    "frozen": (0.6012, 0.6231),
    "frozen_live": (0.5290, 0.6507),
    "deep": (0.5168, 0.7034),
    "served": (0.5127, 0.7102),
    "shadow": (0.5103, 0.7125),
}


def view(**other: object) -> View:
    """Return a look: v0 and v1 have served, candidate 1 was refused, and candidate 2 is being tested."""
    fields: dict[str, object] = {
        "name": "flights",
        "seconds": 41.0,
        "at_ms": BEGIN_MS + 23 * DAY_MS,
        "share": 0.065,
        "records": 45_210,
        "served": 23_950,
        "events_per_second": 3_120.0,
        "waiting": 861,
        "unread": 12,
        "lag_ms": 2_700_000,
        "learned": 21_408,
        "metrics": metrics(),
        "trials": (TrialNote(2, 1_280, 1.7, 3.9),),
        "champions": [champion(0, None), champion(1, 0)],
        "candidates": [candidate(number) for number in range(4)],
        "verdicts": {0: verdict(0, Decision.PROVEN), 1: verdict(1, Decision.FUTILE)},
    }
    return View(**fields | other)  # type: ignore[arg-type]


def metrics(names: tuple[MetricName, ...] = BINARY) -> Metrics:
    total = {
        who: Row(21_408, {one.name: value for one, value in zip(names, values, strict=True)})
        for who, values in VALUES.items()
    }
    return Metrics(names, total, {"2013-02": total})


def champion(number: int, made_of: int | None) -> Champion:
    at_ms = BEGIN_MS + 9 * DAY_MS if number else 0
    return Champion(
        number=number, artifact=f"{number}" * 64, candidate=made_of, offset=(0.0,), at_ms=at_ms, learned=7_000 * number,
        evidence="e^4.1 of e^3.9 after 2,112 samples" if number else "history",
    )  # fmt: skip


def candidate(number: int) -> Candidate:
    return Candidate(
        number=number, commit=90 * number, learned=7_000 * number, at_ms=BEGIN_MS + 7 * DAY_MS * number,
        reason="7 days", artifact=f"{number}" * 64, figures=FIGURES,
    )  # fmt: skip


def verdict(number: int, decision: Decision) -> Verdict:
    return Verdict(
        candidate=number, decision=decision, samples=2_112, log_wealth=4.1 if number == 0 else -3.0, log_needed=3.9,
        gain=0.0086 if number == 0 else -0.0004, margin=0.0, offset=(0.0,), at_ms=BEGIN_MS + (9 + 7 * number) * DAY_MS,
        commit=100 + 90 * number,
    )  # fmt: skip


def shard(rejected: int = 0, **counts: int) -> ShardState:
    """Return a shard that has counted so much, with one partition."""
    at = PartitionState(t_ms=0, next=7, last=6, crc=0, start=0, records=7 - rejected, rejected=rejected)
    return ShardState(
        seq=0, chain="", watermark_ms=0, now_ms=0, last_id="", unread=0, ending=False, windows=0, markers=0, due=0,
        counters=dict.fromkeys(COUNTERS, 0) | counts, partitions={"a:0": at},
    )  # fmt: skip
