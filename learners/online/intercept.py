"""The live intercept: b ← b + rate · (−∂ℓ/∂z), moved by every final label, so that base-rate drift needs no promotion.

Owns one vector of K numbers. Does not know who serves it. For a binary task the step is rate · (y − σ(z + b)).
"""

from collections.abc import Sequence

from learners.tasks.task import Task


class Intercept:
    """One served model's intercept, following labels as they are released."""

    def __init__(self, task: Task, rate: float, value: Sequence[float] | None = None) -> None:
        self._task, self._rate = task, rate
        self.value: tuple[float, ...] = tuple(value) if value is not None else (0.0,) * task.outputs

    def follow(self, output: Sequence[float], label: float) -> tuple[float, ...]:
        """Take one label of a sample whose raw output (length K) is given; returns the new value."""
        served = [z + b for z, b in zip(output, self.value, strict=True)]
        slope = self._task.residual(served, label)
        self.value = tuple(b + self._rate * r for b, r in zip(self.value, slope, strict=True))
        return self.value
