"""The live intercept b, added to every output: each final label moves it, so that a drift of the base rate is followed
without a promotion.

The step is b ← b − rate · ∂loss/∂output; for a binary task, b ← b + rate · (y − σ(z + b)). Owns these K numbers. Does
not know who serves them.
"""

from collections.abc import Iterable, Sequence

from learners.tasks.task import Task
from streams.events import Target


class Intercept:
    """One model's intercept; its `value` has length K."""

    def __init__(self, task: Task, rate: float, value: Sequence[float] | None = None) -> None:
        self.task, self._rate = task, rate
        self.value: tuple[float, ...] = tuple(value) if value is not None else (0.0,) * task.outputs

    def follow(
        self, outputs: Iterable[Sequence[float]], labels: Iterable[Target], weights: Iterable[float]
    ) -> list[tuple[float, ...]]:
        """Move by N samples' labels, one after the other; return the N values that follow.

        `outputs` (N, K) are the model's raw outputs to them.
        """
        step = self._one if len(self.value) == 1 else self._many
        values = [step(*sample) for sample in zip(outputs, labels, weights, strict=True)]
        return values

    def _one(self, output: Sequence[float], label: Target, weight: float) -> tuple[float, ...]:
        """Do what `_many` does for K = 1, in a third of the time."""
        (z,), (b,) = output, self.value
        (residual,) = self.task.residual((z + b,), label)
        self.value = (b + self._rate * weight * residual,)
        return self.value

    def _many(self, output: Sequence[float], label: Target, weight: float) -> tuple[float, ...]:
        served = [z + b for z, b in zip(output, self.value, strict=True)]
        residual = self.task.residual(served, label)
        self.value = tuple([b + self._rate * weight * r for b, r in zip(self.value, residual, strict=True)])
        return self.value
