"""One candidate's test: its answers against those that were served, on fresh samples, in prediction order.

Owns the candidate's own live intercept, and the order in which samples are compared. Does not know which samples are
read, or what becomes of a verdict.
"""

import heapq
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor

from compressors.answers import Run
from compressors.data import Scaled
from learners.commits.commit import Commit
from learners.evaluation.gate import Gate
from learners.evaluation.verdict import Decision, Verdict
from learners.online.batches import kind
from learners.online.intercept import Intercept
from learners.tasks.task import Task
from streams.events import CORRECTION, Sample, Target


class Answered(NamedTuple):
    """A fresh sample. It waits until no earlier prediction can get a label any more: the order is that of prediction.

    `output` (length K) is the candidate's raw output, `served` (length K) the champion's own, intercept included: live
    experts would hide how the two differ. `learned` is how many samples the learner had learned when the champion
    answered.
    """

    t_ms: int
    id: str
    output: tuple[float, ...]
    served: tuple[float, ...]
    learned: int
    label: Target


@dataclass(frozen=True)
class Trial:
    """A candidate under test.

    Only predictions after `known_until_ms` count: the candidate may have learned from earlier ones. `learned` is how
    many samples the learner had taken when the test began. `intercept` is the candidate's own, from then on.
    """

    number: int
    model: Run
    task: Task
    gate: Gate
    intercept: Intercept
    known_until_ms: int
    learned: int
    _intercepts: list[tuple[float, ...]] = field(default_factory=list)  # when the test began, and after each sample
    _waiting: list[Answered] = field(default_factory=list)  # a heap
    _corrected: dict[str, Target] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._intercepts.append(self.intercept.value)

    def follow(self, outputs: Tensor, samples: Sequence[Sample], weights: Sequence[float]) -> None:
        """Take the candidate's raw outputs (N, K) to the next samples: move its intercept, and keep the fresh ones.

        A correction replaces the label of the one that is kept.
        """
        given = outputs.tolist()
        self._intercepts.extend(self.intercept.follow(given, [sample.label for sample in samples], weights))
        for output, sample in zip(given, samples, strict=True):
            asked = sample.prediction
            if asked.t > self.known_until_ms and sample.kind == CORRECTION:
                self._corrected[asked.id] = sample.label
            elif asked.t > self.known_until_ms:
                answered = Answered(asked.t, asked.id, tuple(output), asked.bare, asked.learned, sample.label)
                heapq.heappush(self._waiting, answered)

    def judge(self, commit: Commit, final_ms: int) -> Verdict | None:
        """Compare the answers to predictions before `final_ms`, whose labels are final; return the verdict, if any.

        `commit` is the one whose samples were followed last.
        """
        ready = []
        while self._waiting and self._waiting[0].t_ms < final_ms:
            one = heapq.heappop(self._waiting)
            ready.append(one._replace(label=self._corrected.pop(one.id, one.label)))
        if not ready:
            return None
        as_rows = partial(torch.tensor, dtype=kind(exact=isinstance(self.task, Scaled)))
        ours = as_rows([one.output for one in ready]) + as_rows([self._when(one.learned) for one in ready])
        theirs, target = as_rows([one.served for one in ready]), as_rows([one.label for one in ready])
        differences = self.task.losses(theirs, target) - self.task.losses(ours, target)
        bounds, reverse = self.task.worst_gap(ours, theirs), self.task.worst_gap(theirs, ours)
        decision = self.gate.update(*(t.double().numpy() for t in (differences, bounds, reverse)))
        return None if decision is Decision.RUNNING else self.verdict(decision, commit)

    def verdict(self, decision: Decision, commit: Commit) -> Verdict:
        """Return the verdict that ends the test after this commit."""
        return Verdict(
            candidate=self.number,
            decision=decision,
            samples=self.gate.samples,
            log_wealth=self.gate.log_wealth,
            log_needed=self.gate.log_needed,
            gain=self.gate.gain,
            margin=self.gate.margin,
            offset=tuple(a - b for a, b in zip(self.intercept.value, commit.intercept, strict=True)),
            at_ms=commit.watermark_ms,
            commit=commit.number,
        )

    def _when(self, learned: int) -> tuple[float, ...]:
        """Return the candidate's intercept after so many samples of the learner: it knew what the champion's knew."""
        return self._intercepts[max(0, min(learned - self.learned, len(self._intercepts) - 1))]
