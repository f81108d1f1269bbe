"""Tasks: from an outcome's label to the loss, its slope, and how far two answers can be apart.

Owns what a label means. Does not know models, batches in time, or promotion. Outputs have shape (N, K), labels (N,);
`K` is the task's `outputs`. Everything is computed on served outputs: raw output plus live intercept.
"""

from collections.abc import Sequence
from typing import Protocol

from torch import Tensor

from learners.tasks.metrics import Metric

LOGIT_FLOOR = 9.21  # |logit| beyond this is a probability under 1e-4: served probabilities are floored there


class Task(Protocol):
    """What the learner, the distiller and the gate need to know of a label."""

    @property
    def outputs(self) -> int:
        """K, the width of the model's output."""
        ...

    def check(self, label: float) -> None:
        """Refuse a label that is not the task's.

        Raises:
            MalformedEvent: with what it was and what would be right.
        """
        ...

    def metrics(self) -> tuple[Metric, ...]:
        """Return what is measured of answers, all at zero: the mean of `losses` first, by which the gate compares."""
        ...

    def losses(self, output: Tensor, label: Tensor) -> Tensor:
        """Loss of each row, shape (N,)."""
        ...

    def soft_losses(self, teacher: Tensor, student: Tensor, temperature: float) -> Tensor:
        """Distance of the student's answer from the teacher's, each row, shape (N,), without the factor T²."""
        ...

    def residual(self, served: Sequence[float], label: float) -> tuple[float, ...]:
        """Minus the loss's slope in each of the K outputs: the way in which the live intercept moves."""
        ...

    def worst_gap(self, candidate: Tensor, champion: Tensor) -> Tensor:
        """b = max over labels of [loss(candidate) - loss(champion)], at least 0, shape (N,); known before the label."""
        ...
