"""The figures of a run at its end: what was counted, how good the models were, how fast the artifact is.

Owns computing them. What each means is said in `deploy/registry/kinds.py`.
"""

import time
from collections.abc import Callable, Sequence
from contextlib import closing
from functools import partial
from typing import NamedTuple

import torch
from msgspec import Struct
from torch import Tensor, nn

from compressors.artifact import format as artifact
from deploy.config import Topics
from deploy.engine import Running
from deploy.monitor import NO_ROW, View, counted
from deploy.registry.learned import Equation, Learned
from deploy.registry.notes import Distrusted, Row, Worst
from deploy.registry.reigns import promotions, syncs
from learners.evaluation.drift import Change
from learners.evaluation.verdict import MODELS
from learners.online.batches import Inputs
from learners.tasks.names import AUC, LOG_LOSS
from streams.dead import reasons, refusals
from streams.join.step import ShardState
from streams.kafka import Source, Tp
from streams.kafka.broker import Broker
from streams.kafka.reading.scan import records

BATCHES = (1, 8, 64, 512)
ROUNDS, CALLS = 21, 50


class Speed(Struct, frozen=True):
    """The processor time of a call with `rows` rows on one thread: of the served version, and of its model in float32.

    The version is run as the server runs it, the model by torch.
    """

    rows: int
    served_us: float
    float_us: float

    @property
    def times(self) -> float:
        """How many times as fast as the model in float32 torch the served version is."""
        return self.float_us / self.served_us


class Speeds(Struct, frozen=True):
    """How fast the served version is, and what runs it; `proof` is how far that may be from the artifact's answers."""

    version: int
    by: str
    proof: float | None
    by_rows: list[Speed]

    @property
    def line(self) -> str:
        """All of it as one line."""
        if not self.by_rows:
            return f"v{self.version}, {self.by}: not timed, as no row was learned and there is no history"
        times = ", ".join(f"{one.times:.1f}" for one in self.by_rows)
        rows = ", ".join(str(one.rows) for one in self.by_rows)
        proof = "" if self.proof is None else f"; {self.proof:.4f} from the artifact's answers"
        return f"v{self.version}, {self.by}: {times} times float32 torch at {rows} rows{proof}"


class Published(NamedTuple):
    """What a replay has published, and in how many seconds; `refused` requests got a dead letter and no answer.

    `reasons` counts all dead letters, those of predictions and outcomes too, by kind of reason.
    """

    requests: int
    outcomes: int
    refused: int
    reasons: dict[str, int]
    seconds: float


class Balance(NamedTuple):
    """What the join has counted by shard, what was learned, and the equations between them."""

    shards: Sequence[ShardState]
    learned: Learned
    equations: list[Equation]


class Summary(Struct, frozen=True, kw_only=True):
    """The last line of `demo --json`; `RUN_FIGURES` and `COUNTERS` in `deploy/registry/kinds.py` explain each field."""

    requests: int
    refused: int
    reasons: dict[str, int]
    predictions: int
    outcomes: int
    rejected: int
    samples: int
    unlabelled: int
    lost: int
    doubled: int
    metrics: dict[str, dict[str, float | None]]
    auc_frozen: float | None
    auc_frozen_live: float | None
    auc_deep: float | None
    auc_served: float | None
    auc_shadow: float | None
    logloss_frozen: float | None
    logloss_frozen_live: float | None
    logloss_deep: float | None
    logloss_served: float | None
    logloss_shadow: float | None
    slices: dict[str, dict[str, Row]]
    worst: Worst | None
    drift: list[Change]
    distrusted: tuple[Distrusted, ...]
    candidates: int
    drifts: int
    promotions: int
    syncs: int
    rollbacks: int
    sparsity: float
    artifact_bytes: int
    float_bytes: int
    engine: str
    speedup: dict[str, float]
    seconds: float
    loop_seconds: float
    events_per_second: float
    balanced: bool
    held: list[str]


def summarize(
    view: View, balance: Balance, published: Published, described: artifact.Description, speed: Speeds
) -> Summary:
    """Put the run's figures together. `lost` is what was published, and neither commits nor counters have."""
    counts, learned = counted(balance.shards), balance.learned
    distinct = learned.samples - learned.doubled
    asked, told = distinct - counts["corrected"], distinct - counts["negative"]  # which have a request, an outcome
    unanswered = published.requests - published.refused - asked - counts["unlabelled"] - counts["waiting"]
    missed = sum(counts[name] for name in ("early", "early_refused", "late", "outcome_closed", "orphan"))
    unused = published.outcomes - counts["rejected"] - told - missed
    total = view.metrics.total if view.metrics else {}
    rollbacks = sum(champion.back_to is not None for champion in view.champions)
    rows = {who: total.get(who, NO_ROW) for who in MODELS}
    return Summary(
        requests=published.requests,
        refused=published.refused,
        reasons=published.reasons,
        predictions=counts["predictions"],
        outcomes=counts["outcomes"],
        rejected=counts["rejected"],
        samples=learned.samples,
        unlabelled=counts["unlabelled"],
        lost=abs(unanswered) + abs(unused),
        doubled=learned.doubled,
        metrics={who: row.values for who, row in (total | rows).items()},
        auc_frozen=rows["frozen"].values.get(AUC),
        auc_frozen_live=rows["frozen_live"].values.get(AUC),
        auc_deep=rows["deep"].values.get(AUC),
        auc_served=rows["served"].values.get(AUC),
        auc_shadow=rows["shadow"].values.get(AUC),
        logloss_frozen=rows["frozen"].values.get(LOG_LOSS),
        logloss_frozen_live=rows["frozen_live"].values.get(LOG_LOSS),
        logloss_deep=rows["deep"].values.get(LOG_LOSS),
        logloss_served=rows["served"].values.get(LOG_LOSS),
        logloss_shadow=rows["shadow"].values.get(LOG_LOSS),
        slices=view.metrics.slices if view.metrics else {},
        worst=view.metrics.worst if view.metrics else None,
        drift=view.drift,
        distrusted=view.distrusted,
        candidates=len(view.candidates),
        drifts=sum(candidate.since_ms is not None for candidate in view.candidates),
        promotions=promotions(view.champions),
        syncs=syncs(view.champions),
        rollbacks=rollbacks,
        sparsity=described.sparsity,
        artifact_bytes=described.bytes,
        float_bytes=described.float_bytes,
        engine=speed.by,
        speedup={str(one.rows): round(one.times, 3) for one in speed.by_rows},
        seconds=view.seconds,
        loop_seconds=published.seconds,
        events_per_second=(published.requests + published.outcomes) / published.seconds,
        balanced=all(e.holds for e in balance.equations),
        held=view.held,
    )


def refused(broker: Broker, topics: Topics) -> tuple[int, dict[str, int]]:
    """Count the requests that have a dead letter, and all dead letters by kind of reason.

    Each counts once: a server that restarts may write its letter again.
    """
    with closing(Source(broker, [Tp(topics.dead, 0)])) as source:
        found = refusals(records(source)).values()
    return sum(one.positions for one in found if one.letter.tp.topic == topics.requests), reasons(found)


def speeds(version: int, served: Running, plain: nn.Module, inputs: Inputs | None) -> Speeds:
    """Time the version that serves and its model in float, in eval mode, on batches of `inputs`, on torch's threads."""
    timed = []
    for rows in BATCHES if inputs else ():
        part = tuple(t[torch.arange(rows) % len(t)] for t in inputs or ())
        served_us, float_us = _best([partial(served, *part), partial(plain, *part)])
        timed.append(Speed(rows, served_us, float_us))
    return Speeds(version, served.by, served.proof, timed)


@torch.inference_mode()
def _best(contenders: list[Callable[[], Tensor]]) -> list[float]:
    """Return each one's microseconds of processor time a call, in its best round: a disturbance only ever adds.

    They take turns, so that a noisy moment affects them all, and a turn is many calls, so that none pays for the caches
    that the other has filled.
    """
    rounds: list[list[float]] = [[] for _ in contenders]
    for _ in range(ROUNDS):
        for call, taken in zip(contenders, rounds, strict=True):
            began = time.thread_time_ns()
            for _ in range(CALLS):
                call()
            taken.append((time.thread_time_ns() - began) / 1000 / CALLS)
    return [min(taken) for taken in rounds]
