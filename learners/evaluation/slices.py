"""How good what was served was, by the values of a field that the user names, and where it was worst.

Owns which values are kept. Does not know what a metric means.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from enum import Enum
from typing import Any

import torch
from msgspec import Struct
from torch import Tensor

from learners.evaluation.scores import Scores, ScoresState
from learners.labels.sources import value_at
from learners.tasks.task import Task

SHOWN, KEPT = 20, 100  # the most frequent values, the others are together; 100 values with an AUC are 13 MB
AT_ONCE = 2_000  # samples; measuring each value of each small commit would cost more than the commit's answers
LEAST = 200  # samples of a slice that may be the worst: of fewer, chance decides
LONGEST = 80  # characters of a value
MISSING, OTHERS = "(missing)", "(others)"


class SlicesState(Struct):
    """The scores by value, and what waits to be measured."""

    scores: dict[str, ScoresState]
    others: ScoresState
    waiting: list[tuple[list[str], Tensor, Tensor]]


class Slices:
    """The scores of what was served by the values of one field, such as "origin" or "user.country".

    `task` measures what comes from then on: one whose labels have a unit is set again as that becomes known.
    """

    def __init__(self, field: str, task: Task) -> None:
        self.field, self.task = field, task
        self._scores: dict[str, Scores] = {}
        self._others = Scores(task.metrics())
        self._waiting: list[tuple[list[str], Tensor, Tensor]] = []

    def state(self) -> SlicesState:
        """Return what was scored, and what waits."""
        scores = {value: one.state() for value, one in self._scores.items()}
        return SlicesState(scores, self._others.state(), self._waiting)

    def restore(self, state: SlicesState) -> None:
        """Go on from a state."""
        self._scores = {value: Scores.of(self.task.metrics(), one) for value, one in state.scores.items()}
        self._others, self._waiting = Scores.of(self.task.metrics(), state.others), state.waiting

    def add(self, rows: Sequence[Any], answers: Tensor, target: Tensor) -> None:
        """Take N samples' features, what was answered (N, K), and their targets, (N,) or (N, T)."""
        self.count([value_of(row, self.field) for row in rows], answers, target)

    def count(self, values: Sequence[str], answers: Tensor, target: Tensor) -> None:
        """Take N samples' values of the field, and the rest as `add` does."""
        self._waiting.append((list(values), answers, target))
        if sum(len(values) for values, *_ in self._waiting) >= AT_ONCE:
            self._measure()

    @property
    def scores(self) -> dict[str, Scores]:
        """The scores of the most frequent values, and of all others together; looking changes nothing."""
        ranked = sorted(self._with(self._waits()).items(), key=lambda one: (-one[1].count, one[0]))
        others = sum((scores for _, scores in ranked[SHOWN:]), self._others)
        return dict(ranked[:SHOWN]) | ({OTHERS: others} if others.count else {})

    def _measure(self) -> None:
        """Score what waits, and add the least frequent values to the others."""
        self._scores, self._waiting = self._with(self._waits()), []
        for value in sorted(self._scores, key=lambda one: self._scores[one].count)[:-KEPT]:
            self._others += self._scores.pop(value)

    def _with(self, more: Mapping[str, Scores]) -> dict[str, Scores]:
        before = self._scores
        return before | {value: before[value] + one if value in before else one for value, one in more.items()}

    def _waits(self) -> dict[str, Scores]:
        """Return the scores of what waits."""
        values = [value for part, *_ in self._waiting for value in part]
        if not values:
            return {}
        answers = torch.cat([part for _, part, _ in self._waiting])
        target = torch.cat([part for *_, part in self._waiting])
        numbers = {value: number for number, value in enumerate(Counter(values))}
        order, found = torch.tensor([numbers[value] for value in values]), dict[str, Scores]()
        for value, number in numbers.items():
            chosen = (order == number).nonzero()[:, 0]
            found[value] = Scores(self.task.metrics())
            found[value].add(answers[chosen], target[chosen])
        return found


def value_of(row: Any, field: str) -> str:
    """Return what a row of features has in a field, as text."""
    value = value_at(row, field)
    if value is None or value != value:
        return MISSING
    return str(value.value if isinstance(value, Enum) else value)[:LONGEST]


def worst(slices: Mapping[str, Mapping[str, Scores]], whole: Scores) -> tuple[str, str] | None:
    """Return the field and value whose loss is the farthest above the whole's; None if none is above it."""
    losses = {
        (field, value): scores.loss
        for field, by_value in slices.items()
        for value, scores in by_value.items()
        if value != OTHERS and scores.count >= LEAST and scores.loss > whole.loss
    }
    return max(losses, key=lambda one: losses[one], default=None)
