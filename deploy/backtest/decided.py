"""One pass over a run's record for several policies, and what is told of each.

Owns that pass. Does not know policy files, or how policies are shared out to processes.
"""

from collections import Counter
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from msgspec import Struct

from deploy.backtest.again import Again
from deploy.backtest.policies import Policy
from deploy.config import Settings
from deploy.pipeline import Pipeline
from deploy.registry.kinds import CANDIDATES, CHAMPIONS, COMMITS
from deploy.registry.notes import Metrics, Row
from deploy.registry.records import Champion
from deploy.registry.registry import Registry
from deploy.registry.reigns import promotions
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
    after the commit `commit`, up to the event time `until_ms`. Counts and losses are of what came after another event
    time, if one was given; `verdicts` and `versions` are all of them.
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


class Span(Struct, frozen=True):
    """The part of a record that is told of: what was learned after `from_ms`, in event time, and up to `to_ms`."""

    from_ms: int | None = None
    to_ms: int | None = None

    def begun(self, commit: Commit) -> bool:
        """Return whether a commit is in it, or after it."""
        return self.from_ms is None or commit.watermark_ms > self.from_ms

    def ended(self, commit: Commit) -> bool:
        """Return whether a commit is after it."""
        return self.to_ms is not None and commit.watermark_ms > self.to_ms


class Before(NamedTuple):
    """What a policy had come to before the span: the candidates with a verdict, the newest version, and metrics."""

    judged: frozenset[int]
    version: int
    metrics: Metrics | None


def decide(
    pipeline: Pipeline, settings: Settings, registry: Registry, policies: Sequence[Policy], span: Span
) -> list[Decided]:
    """Return what each policy decides on the record: from its beginning, but told of the span alone.

    Raises:
        ConfigError: nothing was learned in it.
    """
    torch.set_num_threads(1)  # as all roles do
    recorded, timing = list(registry.records(CHAMPIONS)), Timing.of(settings.join)
    again = [
        Again(
            pipeline, policy.promotion(pipeline.promotion), timing, registry, recorded, engines=settings.serve.engines
        )
        for policy in policies
    ]
    last, before = None, list[Before]()
    for commit in registry.records(COMMITS):
        if span.ended(commit):
            break
        if not before and span.begun(commit):
            before = [_before(one, last) for one in again]
        last, entries = commit, commit.entries()
        for one in again:
            one.take(last, entries)
    if last is None or not last.learned or not before:
        raise ConfigError(f"{registry.home} has nothing that was learned {_when(span)}")
    made = sum(one.commit <= last.number for one in registry.records(CANDIDATES))
    return [_decided(policy, one, had, made, last) for policy, one, had in zip(policies, again, before, strict=True)]


def _when(span: Span) -> str:
    return "by then" if span.from_ms is None else "since then" if span.to_ms is None else "between the two"


def _before(again: Again, last: Commit | None) -> Before:
    metrics = again.metrics if last and last.learned else None
    return Before(frozenset(again.verdicts), len(again.versions) - 1, metrics)


def _decided(policy: Policy, again: Again, before: Before, made: int, last: Commit) -> Decided:
    verdicts, versions, metrics = list(again.verdicts.values()), again.versions, again.metrics
    newer, then, loss = versions[before.version :], before.metrics, metrics.names[0].name
    earlier = {month: rows[VERSION] for month, rows in then.months.items()} if then else {}
    months = {month: since(rows[VERSION], earlier.get(month), loss) for month, rows in metrics.months.items()}
    return Decided(
        name=policy.name,
        given=policy.given,
        candidates=made - len(before.judged),
        decisions=dict(Counter(one.decision for one in verdicts if one.candidate not in before.judged)),
        promotions=promotions(newer),
        rollbacks=sum(one.back_to is not None for one in newer[1:]),
        loss=loss,
        total=since(metrics.total[VERSION], then.total[VERSION] if then else None, loss),
        months={month: row for month, row in months.items() if row.count},
        verdicts=verdicts,
        versions=versions,
        commit=last.number,
        until_ms=last.watermark_ms,
    )


def since(now: Row, then: Row | None, loss: str) -> Row:
    """Return how well a model answered what came between two looks: the mean of its loss alone, without the rest.

    >>> since(Row(30, {"log loss": 0.5}), Row(10, {"log loss": 0.7}), "log loss")
    Row(count=20, values={'log loss': 0.4})
    """
    if then is None or not then.count:
        return now
    count, after, before = now.count - then.count, now.values[loss], then.values[loss]
    if not count or after is None or before is None:
        return Row(count, {loss: None})
    return Row(count, {loss: (now.count * after - then.count * before) / count})
