"""The live intercept b, added to every output: each final label moves it, so that a drift of the base rate is followed
without a promotion.

The step is b ← b − rate · ∂loss/∂output; for a binary task, b ← b + rate · (y − σ(z + b)). Owns these K numbers. Does
not know who serves them.
"""

from collections.abc import Sequence

from learners.tasks.task import Task
from streams.events import Target


class Intercept:
    """One model's intercept; its `value` has length K."""

    def __init__(self, task: Task, rate: float, value: Sequence[float] | None = None) -> None:
        self.task, self._rate = task, rate
        self.value: tuple[float, ...] = tuple(value) if value is not None else (0.0,) * task.outputs

    def follow(self, output: Sequence[float], label: Target, weight: float = 1.0) -> tuple[float, ...]:
        """Move by one sample's label; return the new value. `output` (length K) is the model's raw output to it."""
        served = [z + b for z, b in zip(output, self.value, strict=True)]
        residual = self.task.residual(served, label)
        self.value = tuple([b + self._rate * weight * r for b, r in zip(self.value, residual, strict=True)])
        return self.value
