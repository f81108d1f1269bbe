"""What was served, and what it is compared with, measured on every sample: an id counts once, with its last label.

Owns the metrics of `MODELS` by month, those of what was served by slice, the drift of fields, and version 0 under an
intercept of its own. Does not know candidates.
"""

from collections.abc import Sequence
from typing import Any, cast

import numpy as np
import torch
from msgspec import Struct
from torch import Tensor

from compressors.answers import Run
from compressors.data import Scaled
from compressors.scale import UNIT
from learners.evaluation.drift import Drift, DriftState
from learners.evaluation.provisional import Answers, Provisional, ProvisionalState
from learners.evaluation.scores import Scores, ScoresState
from learners.evaluation.slices import Slices, SlicesState, value_of
from learners.evaluation.trials.contestant import Contestant, ContestantState
from learners.evaluation.verdict import MODELS, THEIRS
from learners.live.features.fields import Fields
from learners.online.batches import bare, labels, served
from learners.online.intercept import Intercept
from learners.tasks.task import Task
from streams.events import Sample


class MeasuredState(Struct):
    """All that `Measured` holds."""

    provisional: ProvisionalState
    final: dict[str, dict[str, ScoresState]]
    drift: DriftState
    slices: list[SlicesState]
    alone: ContestantState


class Measured:
    """The metrics so far; `drift` of the fields, `slices` of what was served."""

    def __init__(
        self, task: Task, first: Run, rate: float, watched: Fields, slices: Sequence[str], *, theirs: bool
    ) -> None:
        """`first` is version 0's model, and `rate` that of its intercept. With `theirs` another system answers, too."""
        self._task, self._first, self._rate = task, first, rate
        self._exact = isinstance(task, Scaled)
        self._models = (*MODELS, THEIRS) if theirs else MODELS
        self._provisional = Provisional()
        self._final: dict[str, dict[str, Scores]] = {}
        self.drift = Drift(watched)
        self.slices = [Slices(name, task) for name in slices]
        self._alone = Contestant(first, Intercept(task, rate), 0)

    @property
    def task(self) -> Task:
        """The task, in the labels' unit as far as it is known."""
        return self._task

    @task.setter
    def task(self, task: Task) -> None:
        self._task = self._alone.intercept.task = task

    @property
    def fields(self) -> list[str]:
        """The fields by whose values what is served is measured."""
        return [one.field for one in self.slices]

    def values(self, rows: Sequence[Any]) -> list[tuple[str, ...]]:
        """Return the slices that rows are in."""
        return [tuple(value_of(row, field) for field in self.fields) for row in rows]

    def state(self) -> MeasuredState:
        """Return what it holds between two commits.

        Raises:
            NotResumable: a metric cannot say what it holds.
        """
        return MeasuredState(
            provisional=self._provisional.state(),
            final={name: {who: one.state() for who, one in month.items()} for name, month in self._final.items()},
            drift=self.drift.state(),
            slices=[one.state() for one in self.slices],
            alone=self._alone.state(self._first),
        )

    def restore(self, state: MeasuredState) -> None:
        """Go on from what one of the same feed and settings held."""
        self._provisional.restore(state.provisional)
        self._final = {
            name: {who: Scores.of(self._task.metrics(), one) for who, one in month.items()}
            for name, month in state.final.items()
        }
        self.drift.restore(state.drift)
        for ours, told in zip(self.slices, state.slices, strict=True):
            ours.restore(told)
        self._alone = Contestant.of(state.alone, self._first, self._task, self._rate)

    @property
    def months(self) -> dict[str, dict[str, Scores]]:
        """The metrics of each of `MODELS` by month of prediction; an id counts once, with its last label."""
        provisional = self._provisional.all
        if provisional is None:
            return self._final
        found = dict(self._final)
        for name, month in self._scored(provisional).items():
            found[name] = {who: found[name][who] + scores for who, scores in month.items()} if name in found else month
        return found

    def totals(self) -> dict[str, Scores]:
        """Return the metrics of each of `MODELS` over all months."""
        totals = {who: Scores(self._task.metrics()) for who in self._models}
        for month in self.months.values():
            totals = {name: scores + month[name] for name, scores in totals.items()}
        return totals

    def take(
        self, rows: Sequence[Any], samples: Sequence[Sample], weights: Sequence[float], frozen: Tensor, shadow: Tensor
    ) -> None:
        """Score every model on N samples; `frozen` and `shadow` (N, K) are two models' answers.

        `deep` is what the version that served said by itself, under the intercept. `frozen_live` is version 0 under an
        intercept of its own, as far as it was known at each prediction.
        """
        target, raw = labels(samples, exact=self._exact), frozen.double().numpy()
        deep, answered = (of(samples, exact=self._exact) for of in (bare, served))
        self._alone.follow(np.nan_to_num(raw, posinf=0.0, neginf=0.0), [sample.label for sample in samples], weights)
        live = torch.from_numpy(self._alone.answers(raw, [sample.prediction.learned for sample in samples]))
        all_ = [frozen, live, deep, answered, shadow]
        if THEIRS in self._models:
            all_.append(torch.tensor([sample.prediction.theirs for sample in samples], dtype=target.dtype))
        outputs = torch.stack([one.to(target) for one in all_])
        times = [sample.prediction.t for sample in samples]
        self.drift.add(rows, times, answered.double().numpy())
        self._count(self._provisional.sift(samples, Answers(times, self.values(rows), outputs, target)))

    def settle(self, before_ms: int) -> None:
        """Score the predictions before a time for good: nothing corrects them any more."""
        if settled := self._provisional.settled(before_ms):
            self._count(settled)

    def forget(self, learned: int) -> None:
        """Forget the intercepts before so many samples were learned: no prediction that waits has them."""
        self._alone.forget(learned)

    def _count(self, answers: Answers) -> None:
        """Score what counts for good."""
        for name, month in self._scored(answers).items():
            before = self._final.get(name)
            self._final[name] = {who: before[who] + scores for who, scores in month.items()} if before else month
        for n, one in enumerate(self.slices):
            one.task = self._known(answers.target)
            one.count([of[n] for of in answers.values], answers.outputs[MODELS.index("served")], answers.target)

    def _scored(self, answers: Answers) -> dict[str, dict[str, Scores]]:
        """Return each model's scores by month."""
        task = self._known(answers.target)
        months, of = np.unique(np.array(answers.t_ms, "datetime64[ms]").astype("datetime64[M]"), return_inverse=True)
        found = {}
        for number, name in enumerate(map(str, months)):
            chosen = answers.at(np.flatnonzero(of == number).tolist()) if len(months) > 1 else answers
            found[name] = {who: Scores(task.metrics()) for who in self._models}
            for scores, output in zip(found[name].values(), chosen.outputs, strict=True):
                scores.add(output, chosen.target)
        return found

    def _known(self, target: Tensor) -> Task:
        """Return the task in the labels' unit: that of these labels, (N,), before the first batch was learned.

        Measured in a spread of 1, the first few labels of a million would be most of the loss of a whole year.
        """
        task = self._task
        return cast(Task, task.fitted(target)) if isinstance(task, Scaled) and task.scale == UNIT else task
