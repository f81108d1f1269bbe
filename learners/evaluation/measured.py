"""What was served, and what it is compared with, measured on every sample: an id counts once, with its last label.

Owns the metrics of `MODELS` by month, those of what was served by slice, the drift of fields, and version 0 under an
intercept of its own. A month whose predictions are all final is closed: its values stay, and its counts are in those of
all closed months together, so that years of months hold no more than two. Does not know candidates.
"""

from collections.abc import Sequence
from typing import Any, TypeAlias, cast

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

Months: TypeAlias = dict[str, dict[str, Scores]]  # by month and model


class MeasuredState(Struct, kw_only=True):
    """All that `Measured` holds. `final` are the months that are open, `total` is what is `closed`, added up."""

    provisional: ProvisionalState
    final: dict[str, dict[str, ScoresState]]
    drift: DriftState
    slices: list[SlicesState]
    alone: ContestantState
    closed: dict[str, dict[str, ScoresState]] = {}
    total: dict[str, ScoresState] = {}


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
        self._final: Months = {}
        self._closed: Months = {}
        self._total: dict[str, Scores] = {}  # of all that is closed, with all that each metric holds
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
            final={name: _states(month) for name, month in self._final.items()},
            drift=self.drift.state(),
            slices=[one.state() for one in self.slices],
            alone=self._alone.state(self._first),
            closed={name: _states(month) for name, month in self._closed.items()},
            total=_states(self._total),
        )

    def restore(self, state: MeasuredState) -> None:
        """Go on from what one of the same feed and settings held."""
        self._provisional.restore(state.provisional)
        self._final = {name: self._of(month) for name, month in state.final.items()}
        self._closed = {name: self._of(month) for name, month in state.closed.items()}
        self._total = self._of(state.total)
        self.drift.restore(state.drift)
        for ours, told in zip(self.slices, state.slices, strict=True):
            ours.restore(told)
        self._alone = Contestant.of(state.alone, self._first, self._task, self._rate)

    @property
    def months(self) -> Months:
        """The metrics of each of `MODELS` by month of prediction; an id counts once, with its last label."""
        return _joined(self._closed, self._open)

    @property
    def _open(self) -> Months:
        """What is not closed, by month."""
        provisional = self._provisional.all
        return self._final if provisional is None else _joined(self._final, self._scored(provisional))

    def totals(self) -> dict[str, Scores]:
        """Return the metrics of each of `MODELS` over all months."""
        totals = self._scores() | self._total
        for month in self._open.values():
            totals = _added(totals, month)
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

    def close(self, before_ms: int) -> None:
        """Close the months of which all predictions are before a time, and are settled.

        One of which something comes all the same, as where a person releases what was held, is closed once more.
        """
        for name in [name for name in self._final if _ends_ms(name) <= before_ms]:
            month = self._final.pop(name)
            self._total = _added(self._scores() | self._total, month)
            for scores in month.values():
                scores.close()
            self._closed = _joined(self._closed, {name: month})

    def forget(self, learned: int) -> None:
        """Forget the intercepts before so many samples were learned: no prediction that waits has them."""
        self._alone.forget(learned)

    def _count(self, answers: Answers) -> None:
        """Score what counts for good."""
        self._final = _joined(self._final, self._scored(answers))
        for n, one in enumerate(self.slices):
            one.task = self._known(answers.target)
            one.count([of[n] for of in answers.values], answers.outputs[MODELS.index("served")], answers.target)

    def _scores(self) -> dict[str, Scores]:
        return {who: Scores(self._task.metrics()) for who in self._models}

    def _of(self, states: dict[str, ScoresState]) -> dict[str, Scores]:
        return {who: Scores.of(self._task.metrics(), one) for who, one in states.items()}

    def _scored(self, answers: Answers) -> Months:
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


def _states(month: dict[str, Scores]) -> dict[str, ScoresState]:
    return {who: one.state() for who, one in month.items()}


def _added(month: dict[str, Scores], more: dict[str, Scores]) -> dict[str, Scores]:
    return {who: month[who] + scores for who, scores in more.items()}


def _joined(months: Months, more: Months) -> Months:
    """Return two parts of the same months together."""
    return months | {name: _added(months[name], month) if name in months else month for name, month in more.items()}


def _ends_ms(month: str) -> int:
    """Return when a month has ended.

    >>> _ends_ms("1970-01") == 31 * 86_400_000
    True
    """
    return int((np.datetime64(month, "M") + 1).astype("datetime64[ms]").astype(int))
