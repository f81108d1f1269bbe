"""Streaming metrics: each takes answers as they come, and two of one kind add up, as months add up to a year.

Owns values and units. Does not know whose answers are measured.
"""

import math
from collections.abc import Callable
from typing import Protocol, Self, TypeAlias

import numpy as np
import torch
from msgspec import Struct
from numpy.typing import NDArray
from torch import Tensor

from learners.resumed import Resumed
from learners.tasks.names import AUC

BINS = 8_192  # over logits of ±9.21: the AUC is within about 1e-4 of the exact one
RANGE = 18.42


class Metric(Protocol):
    """What is measured of a model's answers; name and unit are as people see them, "" if it has no unit."""

    name: str
    unit: str

    def add(self, outputs: Tensor, labels: Tensor) -> None:
        """Take answers of shape (N, K) and their targets, (N,) or (N, T)."""
        ...

    def __add__(self, other: Self) -> Self:
        """Return the metric over the answers of both."""
        ...

    @property
    def value(self) -> float:
        """The value so far; NaN while it is not defined."""
        ...


Values: TypeAlias = Callable[[Tensor, Tensor], Tensor]  # outputs (N, K) and targets, (N,) or (N, T), to (N,)


class _MeanState(Struct):
    _weight: float
    _sum: float


class Mean(Resumed):
    """The mean over the answers of a value of each, which `values` computes; by `weights` if they are given."""

    State = _MeanState

    def __init__(self, name: str, unit: str, values: Values, weights: Values | None = None) -> None:
        self.name, self.unit, self._values, self._weights = name, unit, values, weights
        self._weight, self._sum = 0.0, 0.0

    def add(self, outputs: Tensor, labels: Tensor) -> None:
        """Take answers."""
        values = self._values(outputs, labels)
        weights = torch.ones_like(values) if self._weights is None else self._weights(outputs, labels)
        self._weight += float(weights.sum())
        self._sum += float((weights * values).sum())

    def __add__(self, other: Self) -> Self:
        both = type(self)(self.name, self.unit, self._values, self._weights)
        both._weight, both._sum = self._weight + other._weight, self._sum + other._sum
        return both

    @property
    def value(self) -> float:
        """The mean; NaN before the first answer."""
        return self._sum / self._weight if self._weight else float("nan")


class MeanExp(Mean):
    """e to the power of the mean, as a perplexity is that of the nats of a token."""

    @property
    def value(self) -> float:
        """The power; NaN before the first answer."""
        return math.exp(super().value)


class _AucState(Struct):
    _bins: NDArray[np.int64]


class Auc(Resumed):
    """The area under the ROC curve, from counts in bins (Mann & Whitney 1947); K logits are K answers."""

    State = _AucState

    def __init__(self) -> None:
        self.name, self.unit = AUC, ""
        self._bins: NDArray[np.int64] = np.zeros((2, BINS), dtype=np.int64)  # by label: no, yes

    def add(self, outputs: Tensor, labels: Tensor) -> None:
        """Take answers."""
        bins = ((outputs.flatten().double() / RANGE + 0.5) * BINS).long().clamp(0, BINS - 1).numpy()
        yes = labels.flatten().numpy() > 0.5
        for row, chosen in enumerate((bins[~yes], bins[yes])):
            self._bins[row] += np.bincount(chosen, minlength=BINS)

    def __add__(self, other: "Auc") -> "Auc":
        both = Auc()
        both._bins = self._bins + other._bins
        return both

    @property
    def value(self) -> float:
        """The chance that a yes has a higher logit than a no, ties counting half; NaN until both have come."""
        no, yes = self._bins
        pairs = int(no.sum()) * int(yes.sum())
        below = np.cumsum(no) - no
        return float((yes * (below + 0.5 * no)).sum() / pairs) if pairs else float("nan")
