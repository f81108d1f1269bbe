"""What the evaluator says on the board: of candidates under test, of a canary, of all models.

Owns what of an evaluator is said. Does not know the board.
"""

import math

from deploy.registry.notes import BesideNote, CanaryNote, MetricName, Metrics, Row, TrialNote, Worst
from learners.evaluation.beside import Beside
from learners.evaluation.evaluate import Evaluator
from learners.evaluation.scores import Scores
from learners.evaluation.slices import worst
from learners.evaluation.trials.trial import Trial

DAY_MS = 86_400_000


def noted(trial: Trial, now_ms: int) -> TrialNote:
    """Return what the board says of a candidate under test."""
    least = trial.least
    return TrialNote(
        candidate=trial.entry.number,
        samples=least.sums.samples,
        log_wealth=least.log_wealth,
        log_needed=trial.log_needed,
        against=least.version,
        gain=least.sums.mean,
        waiting=least.waiting,
        days=trial.days_left(now_ms),
    )


def beside(ours: Beside | None) -> BesideNote | None:
    """Return what the board says of what we serve beside what another system answered."""
    if ours is None or ours.against is None:
        return None
    since_ms = None if ours.proven_day is None else (ours.proven_day + 1) * DAY_MS
    return BesideNote(ours.against, ours.log_needed, since_ms)


def canary(evaluator: Evaluator) -> CanaryNote | None:
    """Return what the board says of a canary."""
    if (gained := evaluator.gained) is None:
        return None
    version, steps = evaluator.watch.version, evaluator.steps
    own, asked = steps.own(version), steps.canary
    return CanaryNote(version, own.samples, asked.samples, own.days, asked.days, gained.samples, gained.gain)


def metrics(evaluator: Evaluator) -> Metrics:
    """Return the metrics of every model so far."""
    total, slices = evaluator.measured.totals(), {one.field: one.scores for one in evaluator.measured.slices}
    return Metrics(
        tuple(MetricName(metric.name, metric.unit) for metric in total["served"].metrics),
        rows(total),
        {name: rows(month) for name, month in evaluator.measured.months.items()},
        {field: rows(scores) for field, scores in slices.items()},
        Worst(*found) if (found := worst(slices, total["served"])) else None,
    )


def rows(models: dict[str, Scores]) -> dict[str, Row]:
    """Return metrics as they are written down; None stands for NaN, which JSON does not have."""
    return {
        who: Row(scores.count, {name: None if math.isnan(value) else value for name, value in scores.values.items()})
        for who, scores in models.items()
    }
