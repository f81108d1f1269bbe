"""All guard rails of a candidate that is proven, and those that a user has written.

Owns what is looked at. Does not know what follows.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from compressors.data import Scaled
from learners.evaluation.earlier import answer_entries, batch_for
from learners.evaluation.guards.guard import GuardRails, Own, TrialReport
from learners.evaluation.guards.latency import ROWS, latency
from learners.evaluation.guards.outcomes import Outcomes
from learners.evaluation.guards.outputs import alike, constant, finite
from learners.evaluation.trials.contestant import Contestant
from learners.evaluation.verdict import Against, Guard
from learners.online.batches import Encoder, labels
from learners.tasks.task import Task
from streams.events import Sample

LONGEST = 200  # characters of what a user's guard rail says


class Judged(NamedTuple):
    """A candidate and the champion that it has beaten: their numbers, models, test, and what outcomes have shown."""

    candidate: int
    ours: Contestant
    theirs: Contestant
    against: Against
    outcomes: Outcomes


def judge(
    judged: Judged, samples: Sequence[Sample], task: Task, encoder: Encoder, rails: GuardRails, own: Sequence[Own]
) -> tuple[Guard, ...]:
    """Return what the guard rails find of a candidate, on the newest samples and the outcomes of its test."""
    rows, target = encoder.rows(samples), labels(samples, exact=isinstance(task, Scaled))
    models, none = {"ours": judged.ours.model, "theirs": judged.theirs.model}, torch.empty(0, task.outputs)
    ours, theirs = answer_entries(models, rows, samples, none).values()
    found = finite(ours)
    if not found.passed:
        return (found,)
    answers = _answers(judged.ours, ours), _answers(judged.theirs, theirs)
    batch = rows.between(max(0, len(rows) - ROWS), len(rows)).batch()
    earlier = batch_for(judged.theirs.model, samples[-ROWS:])
    guards = (
        found,
        constant(task, ours, theirs, target, rails.constant),
        latency(judged.ours.model, judged.theirs.model, batch, rails.latency, earlier),
        *alike(task, *answers, rails),
        *judged.outcomes.guards(rails),
    )
    if own:
        report = TrialReport(
            judged.candidate, judged.against.champion, judged.against, rows.rows, target, *answers, guards
        )  # fmt: skip
        guards += tuple(_own(function, report) for function in own)
    return guards


def _answers(contestant: Contestant, outputs: Tensor) -> Tensor:
    """Return outputs (N, K) under the live intercept of now."""
    return outputs + torch.tensor(contestant.intercept.value).to(outputs)


def _own(function: Own, report: TrialReport) -> Guard:
    """Return what a user's guard rail says; one that raises lets nothing pass."""
    name = getattr(function, "__name__", type(function).__name__)
    try:
        said: Any = function(report)
    except (Exception, SystemExit) as wrong:  # noqa: BLE001 a user's code may raise anything; the evaluator goes on
        said = f"raised {type(wrong).__name__}: {wrong}"
    if said is not None and not isinstance(said, str):
        said = f"returned {said!r}; None lets a candidate pass, and text says why it does not"
    line = "passed" if said is None else " ".join(str(said).split())[:LONGEST] or "refused"
    return Guard(name, None, None, said is None, f"{name}: {line}")
