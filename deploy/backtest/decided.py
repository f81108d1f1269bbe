"""One pass over a run's record for several policies, and what is told of each.

Owns that pass. Does not know policy files, or how policies are shared out to processes.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from msgspec import Struct

from deploy.backtest.again import Again
from deploy.backtest.policies import Policy
from deploy.config import Settings
from deploy.pipeline import Pipeline
from deploy.registry.kinds import CANDIDATES, CHAMPIONS, COMMITS
from deploy.registry.notes import Row
from deploy.registry.records import Champion, promotions
from deploy.registry.registry import Registry
from learners.commits.commit import Commit
from learners.evaluation.trials.timing import Timing
from learners.evaluation.verdict import Decision, Verdict
from streams.errors import ConfigError

VERSION = "deep"  # of `learners.evaluation.verdict.MODELS`: what the version that served said by itself


class Decided(Struct, frozen=True, kw_only=True):
    """What follows under the policy `name`, which sets what is `given` otherwise than the pipeline.

    `verdicts` on `candidates`, how many of each `decisions` says; the others are still under test, or could not serve.
    `promotions`, `rollbacks`: of the `versions`, which candidates brought, and which came back. `total`, `months`: how
    well these versions answer by themselves, in all and by month of prediction; `loss` names the task's loss. So it was
    after the commit `commit`, up to the event time `until_ms`.
    """

    name: str
    given: dict[str, Any]
    candidates: int
    decisions: dict[Decision, int]
    promotions: int
    rollbacks: int
    loss: str
    total: Row
    months: dict[str, Row]
    verdicts: list[Verdict]
    versions: list[Champion]
    commit: int
    until_ms: int


def decide(
    pipeline: Pipeline, settings: Settings, registry: Registry, policies: Sequence[Policy], to_ms: int | None
) -> list[Decided]:
    """Return what each policy decides on the record up to an event time.

    Raises:
        ConfigError: nothing was learned by then.
    """
    torch.set_num_threads(1)  # as all roles do
    recorded, timing = list(registry.records(CHAMPIONS)), Timing.of(settings.join)
    again = [
        Again(
            pipeline, policy.promotion(pipeline.promotion), timing, registry, recorded, engines=settings.serve.engines
        )
        for policy in policies
    ]
    last = None
    for last in _commits(registry, to_ms):
        entries = last.entries()
        for one in again:
            one.take(last, entries)
    if last is None or not last.learned:
        raise ConfigError(f"{registry.home} has nothing that was learned by then")
    made = sum(one.commit <= last.number for one in registry.records(CANDIDATES))
    return [_decided(policy, one, made, last) for policy, one in zip(policies, again, strict=True)]


def _commits(registry: Registry, to_ms: int | None) -> Iterator[Commit]:
    """Yield the commits that the log had at an event time."""
    for commit in registry.records(COMMITS):
        if to_ms is not None and commit.watermark_ms > to_ms:
            return
        yield commit


def _decided(policy: Policy, again: Again, candidates: int, last: Commit) -> Decided:
    verdicts, versions, metrics = list(again.verdicts.values()), again.versions, again.metrics
    back = sum(one.back_to is not None for one in versions)
    return Decided(
        name=policy.name,
        given=policy.given,
        candidates=candidates,
        decisions=dict(Counter(verdict.decision for verdict in verdicts)),
        promotions=promotions(versions),
        rollbacks=back,
        loss=metrics.names[0].name,
        total=metrics.total[VERSION],
        months={month: rows[VERSION] for month, rows in metrics.months.items()},
        verdicts=verdicts,
        versions=versions,
        commit=last.number,
        until_ms=last.watermark_ms,
    )
