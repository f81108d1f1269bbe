"""Streaming metrics: each takes answers as they come, and two of one kind add up, as months add up to a year.

Owns values and units. Does not know whose answers are measured.
"""

import math
from collections.abc import Callable
from typing import Protocol, Self, TypeAlias, runtime_checkable

import numpy as np
import torch
from msgspec import Struct
from numpy.typing import NDArray
from torch import Tensor

from learners.resumed import Resumed
from learners.tasks.names import AUC

BINS = 8_192  # over logits of ±9.21: the AUC is within about 1e-4 of the exact one
RANGE = 18.42
NONE: NDArray[np.int64] = np.zeros((2, 0), dtype=np.int64)  # the bins before the first answer


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


@runtime_checkable
class Closes(Protocol):
    """A metric that holds much while answers come, and little once no more are expected."""

    def close(self) -> None:
        """Keep the value alone; what is added all the same, or was closed too, is weighed by how much it is."""
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
    _area: float = 0.0
    _pairs: int = 0


class Auc(Resumed):
    """The area under the ROC curve, from counts in bins (Mann & Whitney 1947); K logits are K answers.

    Answers that come once it was closed are compared with each other, and not with those of before.

    >>> auc = Auc()
    >>> auc.add(torch.tensor([[-1.0], [0.0], [1.0]]), torch.tensor([0.0, 1.0, 1.0]))
    >>> auc.close()
    >>> auc.value
    1.0
    """

    State = _AucState

    def __init__(self) -> None:
        self.name, self.unit = AUC, ""
        self._bins = NONE  # by label: no, yes
        self._area, self._pairs = 0.0, 0  # of what is closed: pairs of a no and a yes, those in order counting 1

    def add(self, outputs: Tensor, labels: Tensor) -> None:
        """Take answers."""
        bins = ((outputs.flatten().double() / RANGE + 0.5) * BINS).long().clamp(0, BINS - 1).numpy()
        yes = labels.flatten().numpy() > 0.5
        self._bins = self._bins if self._bins.size else np.zeros((2, BINS), dtype=np.int64)
        for row, chosen in enumerate((bins[~yes], bins[yes])):
            self._bins[row] += np.bincount(chosen, minlength=BINS)

    def __add__(self, other: "Auc") -> "Auc":
        both = Auc()
        parts = [one._bins for one in (self, other) if one._bins.size]
        both._bins = sum(parts[1:], parts[0].copy()) if parts else NONE
        both._area, both._pairs = self._area + other._area, self._pairs + other._pairs
        return both

    def close(self) -> None:
        """Keep the area, and let the bins go."""
        self._area, self._pairs = self._counted()
        self._bins = NONE

    def _counted(self) -> tuple[float, int]:
        """Return the pairs in order, ties counting half, and all pairs."""
        no, yes = self._bins
        below = np.cumsum(no) - no
        return self._area + float((yes * (below + 0.5 * no)).sum()), self._pairs + int(no.sum()) * int(yes.sum())

    @property
    def value(self) -> float:
        """The chance that a yes has a higher logit than a no, ties counting half; NaN until both have come."""
        area, pairs = self._counted()
        return area / pairs if pairs else float("nan")
