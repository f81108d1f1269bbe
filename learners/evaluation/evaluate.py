"""Evaluation: the candidate's artifact against what was served, on the same fresh samples, in prediction order.

Owns the reordering behind the watermark of final labels, the candidate's own live intercept, and the running metrics of
what was served and of what it is compared with (`MODELS`). Does not know files or actors: it is fed commits and models.
"""

import heapq
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime

import torch
from msgspec import Struct
from torch import Tensor

from learners.commits.commit import Commit
from learners.evaluation.gate import Decision, Gate, Promotion
from learners.evaluation.scores import Scores
from learners.online.batches import Encoder, Inputs, intercepts, join, labels, served
from learners.online.intercept import Intercept
from learners.tasks.task import Task
from streams.events import Sample

WARM_UP = 2_000  # samples before the start on which the candidate's intercept settles; it remembers about 600
MODELS = ("frozen", "frozen_live", "served", "shadow")  # each is measured on the same samples
BOUND_FROM = 500  # predictions, seen without labels, that give B_0


Model = Callable[..., Tensor]  # a network, or what runs one: inputs to outputs (N, K)
Answer = Callable[[Inputs], Tensor]  # outputs (N, K), before the live intercept


class Verdict(Struct, frozen=True, kw_only=True):
    """What the gate said, with its evidence.

    `gain` is the mean of loss(champion) - loss(candidate) over the `samples` compared, `margin` what it must exceed,
    both in the unit of the task's loss. `log_wealth` and `log_needed` are natural logarithms of the test's evidence and
    of what proves. `offset` is the candidate's intercept less the champion's.
    """

    candidate: int
    decision: Decision
    samples: int
    log_wealth: float
    log_needed: float
    gain: float
    margin: float
    offset: tuple[float, ...]
    at_ms: int
    commit: int


class _Trial:
    """One candidate under test."""

    def __init__(self, number: int, model: Model, fresh_after_ms: int, gate: Gate, margin: float) -> None:
        self.number, self.model, self.fresh_after_ms, self.gate, self.margin = (
            number,
            model,
            fresh_after_ms,
            gate,
            margin,
        )
        self.path: list[tuple[float, ...]] = []  # the candidate's intercept after each sample since the start
        self.waiting: list[tuple[int, str, tuple[float, ...], tuple[float, ...], int, float]] = []


class Evaluator:
    """Takes commits in order; holds at most one candidate under test."""

    def __init__(
        self, task: Task, encoder: Encoder, policy: Promotion, rate: float, window_ms: int, frozen: Answer
    ) -> None:
        """`frozen` answers as version 0, without the live intercept; `window_ms` is how long labels may still come."""
        self._task, self._encoder, self._policy, self._rate = task, encoder, policy, rate
        self._window_ms, self._frozen = window_ms, frozen
        self._recent: deque[tuple[Inputs, list[Sample]]] = deque()
        self._trial: _Trial | None = None
        self._intercept = Intercept(task, rate)
        self._last: Commit | None = None
        self._returning: set[tuple[str, int]] = set()
        self.months: dict[str, dict[str, Scores]] = {}

    def expect(self, void: Iterable[Sample]) -> None:
        """Count no second time what was taken back and will be learned again: it has been judged by its answer."""
        self._returning.update((sample.id, sample.revision) for sample in void)

    def take(self, commit: Commit) -> Verdict | None:
        """Take the next commit; returns the candidate's verdict when this commit decides it."""
        samples, shadow = self._fresh(commit)
        self._last = commit
        if samples:
            inputs = self._encoder.inputs(samples)
            self._measure(inputs, samples, torch.tensor(shadow))
            self._remember(inputs, samples)
            if self._trial:
                self._follow(self._trial, inputs, samples)
        return self._judge(self._trial, commit) if self._trial else None

    def start(self, number: int, model: Model) -> Verdict | None:
        """Put a candidate under test, on predictions still to come; gives the verdict on the one it replaces."""
        if self._last is None or not self._recent:
            raise ValueError("a candidate needs samples before it")
        replaced = self._verdict(self._trial, Decision.SUPERSEDED, self._last) if self._trial else None
        inputs, recent = join([i for i, _ in self._recent]), [s for _, part in self._recent for s in part]
        outputs = answers(model, inputs)
        self._intercept = Intercept(self._task, self._rate, recent[0].prediction.intercept)
        for output, sample in zip(outputs.tolist(), recent, strict=True):
            self._intercept.follow(output, sample.label)
        ours = outputs[-BOUND_FROM:] + torch.tensor(self._intercept.value)
        theirs = served(recent[-BOUND_FROM:])
        bounds = [float(self._task.worst_gap(a, b).max()) for a, b in ((ours, theirs), (theirs, ours))]
        margin = self._policy.margin * self.totals()["served"].loss
        self._trial = _Trial(number, model, self._last.latest_ms, Gate(self._policy, margin, *bounds), margin)
        self._trial.path.append(self._intercept.value)
        self._start = self._last.learned
        return replaced

    @property
    def running(self) -> tuple[int, Gate] | None:
        """Number and gate of the candidate under test."""
        return (self._trial.number, self._trial.gate) if self._trial else None

    def totals(self) -> dict[str, Scores]:
        """Return the metrics of each of `MODELS` over all months."""
        totals = {who: Scores(self._task.metrics()) for who in MODELS}
        for month in self.months.values():
            totals = {name: scores + month[name] for name, scores in totals.items()}
        return totals

    def _fresh(self, commit: Commit) -> tuple[list[Sample], list[list[float]]]:
        """Give the commit's samples but for those that come again, and the shadow's answers."""
        samples, shadow = commit.read(), commit.shadow
        again = {(s.id, s.revision) for s in samples} & self._returning if self._returning else set()
        self._returning -= again
        fresh = [(s, row) for s, row in zip(samples, shadow, strict=True) if (s.id, s.revision) not in again]
        return [s for s, _ in fresh], [row for _, row in fresh]

    def _measure(self, inputs: Inputs, samples: Sequence[Sample], shadow: Tensor) -> None:
        """Score every model on the samples.

        `frozen_live` is version 0 under the intercept that each prediction carried. That intercept has followed the
        errors of the champions that served, not those of version 0.
        """
        target = labels(samples)
        frozen = self._frozen(inputs)
        outputs = dict(zip(MODELS, (frozen, frozen + intercepts(samples), served(samples), shadow), strict=True))
        names = [datetime.fromtimestamp(s.prediction.t / 1000, UTC).strftime("%Y-%m") for s in samples]
        for name in sorted(set(names)):
            chosen = torch.tensor([n == name for n in names])
            month = self.months.setdefault(name, {who: Scores(self._task.metrics()) for who in MODELS})
            for who, output in outputs.items():
                month[who].add(output[chosen], target[chosen])

    def _remember(self, inputs: Inputs, samples: list[Sample]) -> None:
        self._recent.append((inputs, samples))
        while sum(len(part) for _, part in self._recent) - len(self._recent[0][1]) >= WARM_UP:
            self._recent.popleft()

    def _follow(self, trial: _Trial, inputs: Inputs, samples: Sequence[Sample]) -> None:
        for output, sample in zip(answers(trial.model, inputs).tolist(), samples, strict=True):
            trial.path.append(self._intercept.follow(output, sample.label))
            at = sample.prediction
            if at.t > trial.fresh_after_ms:
                item = (at.t, at.id, tuple(output), at.served, at.learned, sample.label)
                heapq.heappush(trial.waiting, item)

    def _judge(self, trial: _Trial, commit: Commit) -> Verdict | None:
        ready = []
        while trial.waiting and trial.waiting[0][0] + self._window_ms < commit.watermark_ms:
            ready.append(heapq.heappop(trial.waiting))
        if not ready:
            return None
        # The candidate's intercept knew just what the champion's knew when it answered.
        known = [trial.path[max(0, min(item[4] - self._start, len(trial.path) - 1))] for item in ready]
        ours = torch.tensor([item[2] for item in ready]) + torch.tensor(known)
        theirs, target = torch.tensor([item[3] for item in ready]), torch.tensor([item[5] for item in ready])
        differences = self._task.losses(theirs, target) - self._task.losses(ours, target)
        bounds, reverse = self._task.worst_gap(ours, theirs), self._task.worst_gap(theirs, ours)
        gate = trial.gate
        decision = gate.update(*(t.double().numpy() for t in (differences, bounds, reverse)))
        if decision is Decision.RUNNING:
            return None
        self._trial = None
        return self._verdict(trial, decision, commit)

    def _verdict(self, trial: _Trial, decision: Decision, commit: Commit) -> Verdict:
        gate = trial.gate
        return Verdict(
            candidate=trial.number,
            decision=decision,
            samples=gate.samples,
            log_wealth=gate.log_wealth,
            log_needed=gate.log_needed,
            gain=gate.gain,
            margin=trial.margin,
            offset=tuple(a - b for a, b in zip(trial.path[-1], commit.intercept, strict=True)),
            at_ms=commit.watermark_ms,
            commit=commit.number,
        )


def answers(model: Model, inputs: Inputs) -> Tensor:
    """Return a model's raw outputs, shape (N, K)."""
    with torch.inference_mode():
        output: Tensor = model(*inputs)
    return output
