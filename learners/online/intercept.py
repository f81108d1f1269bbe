"""The live intercept b, added to every output: each final label moves it, so that a drift of the base rate is followed
without a promotion.

The step is b ← b − rate · ∂loss/∂output; for a binary task, b ← b + rate · (y − σ(z + b)). Owns these K numbers. Does
not know who serves them.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from learners.tasks import logistic
from learners.tasks.binary import Binary
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
        samples = zip(outputs, labels, weights, strict=True)
        return self._ones(samples) if len(self.value) == 1 else [self._many(*sample) for sample in samples]

    def _ones(self, samples: Iterable[tuple[Sequence[float], Target, float]]) -> list[tuple[float, ...]]:
        """Do what `_many` does for K = 1, in a quarter of the time."""
        slope, rate, (b,) = _slope(self.task), self._rate, self.value
        values: list[tuple[float, ...]] = []
        for (z,), label, weight in samples:
            b += rate * weight * slope(z + b, label)
            values.append((b,))
        self.value = (b,)
        return values

    def _many(self, output: Sequence[float], label: Target, weight: float) -> tuple[float, ...]:
        served = [z + b for z, b in zip(output, self.value, strict=True)]
        residual = self.task.residual(served, label)
        self.value = tuple([b + self._rate * weight * r for b, r in zip(self.value, residual, strict=True)])
        return self.value


def _slope(task: Task) -> Callable[[float, Any], float]:
    """Return the residual of a task whose K is 1, from one number."""
    if type(task) is Binary:
        return logistic.residual
    residual = task.residual
    return lambda z, label: residual((z,), label)[0]
