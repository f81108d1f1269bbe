"""Evaluation: commits in, verdicts and metrics out.

Owns the metrics of what was served and of what it is compared with (`MODELS`), and how a candidate's test begins. Does
not know files or actors: it is given commits and models.
"""

from collections.abc import Iterable, Sequence
from itertools import repeat
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor

from compressors.answers import Run, answer_all, answers
from compressors.data import Scaled
from compressors.scale import Scale
from learners.commits.commit import Commit
from learners.evaluation.drift import Drift
from learners.evaluation.gate import Gate, Promotion
from learners.evaluation.provisional import Answers, Provisional
from learners.evaluation.scores import Scores
from learners.evaluation.slices import Slices
from learners.evaluation.trial import Trial
from learners.evaluation.verdict import MODELS, Decision, Verdict
from learners.live.features.fields import NONE, Fields
from learners.online.absent import Absent
from learners.online.batches import Encoder, Newest, bare, completed, intercepts, kind, labels, served
from learners.online.intercept import Intercept
from learners.tasks.task import Task
from streams.events import Sample

WARM_UP = 2_000  # samples from which a candidate's intercept starts; it remembers about the last 600
BOUND_FROM = 500  # predictions, whose labels are not looked at, for the first bound of the gate


class Evaluator:
    """Takes the learner's commits in their order; at most one candidate at a time is under test."""

    def __init__(
        self,
        task: Task,
        encoder: Encoder,
        policy: Promotion,
        rate: float,
        final_ms: int,
        frozen: Run,
        *,
        watched: Fields = NONE,
        slices: Sequence[str] = (),
    ) -> None:
        """`frozen` answers as version 0 does, without the live intercept.

        A label may come, or change, for `final_ms` after its prediction; `rate` is the live intercept's. The drift of
        the fields `watched` is named, and what is served is measured by the values of each field of `slices`.
        """
        self._task, self._encoder, self._policy, self._rate = task, encoder, policy, rate
        self._final_ms, self._frozen = final_ms, frozen
        self._absent, self._provisional = Absent(), Provisional()
        self._newest: Newest[Sample] = Newest(WARM_UP)
        self._last: Commit | None = None
        self._exact = isinstance(task, Scaled)
        self._returning: set[tuple[str, int]] = set()
        self.trial: Trial | None = None
        self._final: dict[str, dict[str, Scores]] = {}
        self.drift = Drift(watched)
        self.slices = [Slices(name, task) for name in slices]

    def expect(self, void: Iterable[Sample]) -> None:
        """Do not count these samples again: they were counted, then taken back, and will be learned again."""
        self._returning.update((sample.id, sample.revision) for sample in void)

    def take(self, commit: Commit) -> Verdict | None:
        """Take the next commit; return the verdict on the candidate under test if this commit decides it."""
        samples, shadow = self._fresh(commit)
        self._last = commit
        if commit.scale is not None and isinstance(self._task, Scaled):
            self._task = cast(Task, self._task.at(Scale(*commit.scale)))
        if samples:
            models = [self._frozen, *([self.trial.model] if self.trial else [])]
            rows = self._encoder.rows(samples)
            frozen, *tested = answer_all(models, rows)
            self._measure(frozen, rows.rows, samples, torch.tensor(shadow, dtype=kind(exact=self._exact)))
            self._newest.add(samples)
            weights = [weight.mean for weight in self._absent.follow(samples)]
            if self.trial:
                self.trial.follow(tested[0], samples, weights)
        final_ms = commit.watermark_ms - self._final_ms
        if settled := self._provisional.settled(final_ms):
            self._count(settled)
        verdict = self.trial.judge(commit, final_ms) if self.trial else None
        if verdict:
            self.trial = None
        return verdict

    def start(self, number: int, model: Run) -> Verdict | None:
        """Put a candidate under test, on predictions still to come; return the verdict on the one that it replaces.

        Raises:
            ValueError: no sample was taken before.
        """
        if self._last is None or not len(self._newest):
            raise ValueError("a candidate needs samples before it")
        replaced = self.trial.verdict(Decision.SUPERSEDED, self._last) if self.trial else None
        self.trial = self._begin(number, model, self._last)
        return replaced

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
        totals = {who: Scores(self._task.metrics()) for who in MODELS}
        for month in self.months.values():
            totals = {name: scores + month[name] for name, scores in totals.items()}
        return totals

    def _fresh(self, commit: Commit) -> tuple[list[Sample], list[list[float]]]:
        """Return the commit's samples but for those that come again, and the shadow's answers to them."""
        samples, shadow = completed(commit.read(), self._task), commit.shadow
        again = {(s.id, s.revision) for s in samples} & self._returning if self._returning else set()
        self._returning -= again
        fresh = [(s, row) for s, row in zip(samples, shadow, strict=True) if (s.id, s.revision) not in again]
        return [s for s, _ in fresh], [row for _, row in fresh]

    def _measure(self, frozen: Tensor, rows: Sequence[Any], samples: Sequence[Sample], shadow: Tensor) -> None:
        """Score every model on the samples; `frozen` and `shadow` (N, K) are two models' answers.

        `deep` is what the version that served said by itself, under the intercept. `frozen_live` is version 0 under the
        intercept that each prediction carried. That intercept has followed the errors of the champions that served, not
        those of version 0.
        """
        target = labels(samples, exact=self._exact)
        live, deep, answered = (of(samples, exact=self._exact) for of in (intercepts, bare, served))
        outputs = torch.stack([one.to(target) for one in (frozen, frozen + live, deep, answered, shadow)])
        times = [sample.prediction.t for sample in samples]
        self.drift.add(rows, times, answered.double().numpy())
        self._count(self._provisional.sift(samples, Answers(times, list(rows), outputs, target)))

    def _count(self, answers: Answers) -> None:
        """Score what counts for good."""
        for name, month in self._scored(answers).items():
            before = self._final.get(name)
            self._final[name] = {who: before[who] + scores for who, scores in month.items()} if before else month
        for one in self.slices:
            one.add(answers.rows, answers.outputs[MODELS.index("served")], answers.target)

    def _scored(self, answers: Answers) -> dict[str, dict[str, Scores]]:
        """Return each model's scores by month."""
        months, of = np.unique(np.array(answers.t_ms, "datetime64[ms]").astype("datetime64[M]"), return_inverse=True)
        found = {}
        for number, name in enumerate(map(str, months)):
            chosen = answers.at(np.flatnonzero(of == number).tolist()) if len(months) > 1 else answers
            found[name] = {who: Scores(self._task.metrics()) for who in MODELS}
            for scores, output in zip(found[name].values(), chosen.outputs, strict=True):
                scores.add(output, chosen.target)
        return found

    def _begin(self, number: int, model: Run, last: Commit) -> Trial:
        """Return the test that begins after the commit `last`.

        The candidate's intercept starts where the newest samples bring it; the gate starts with the largest bounds of
        the two models' newest answers.
        """
        samples = list(self._newest)
        outputs = answers(model, self._encoder.rows(samples))
        intercept = Intercept(self._task, self._rate, samples[0].prediction.intercept)
        intercept.follow(outputs.tolist(), [sample.label for sample in samples], repeat(1.0, len(samples)))
        ours, theirs = (
            outputs[-BOUND_FROM:] + torch.tensor(intercept.value),
            bare(samples[-BOUND_FROM:], exact=self._exact),
        )
        bounds = [float(self._task.worst_gap(a, b).max()) for a, b in ((ours, theirs), (theirs, ours))]
        gate = Gate(self._policy, self._policy.margin * self.totals()["deep"].loss, *bounds)
        return Trial(number, model, self._task, gate, intercept, last.latest_ms, last.learned)
