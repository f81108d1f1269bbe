"""Streaming metrics: each takes answers as they come, and two of one kind add up, as months add up to a year.

Owns values and units. Does not know whose answers are measured.
"""

from collections.abc import Callable
from typing import Protocol, Self

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

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


class Mean:
    """The mean over the answers of a value of each; `values` maps outputs (N, K) and labels (N,) to these (N,)."""

    def __init__(self, name: str, unit: str, values: Callable[[Tensor, Tensor], Tensor]) -> None:
        self.name, self.unit, self._values = name, unit, values
        self._count, self._sum = 0, 0.0

    def add(self, outputs: Tensor, labels: Tensor) -> None:
        """Take answers."""
        self._count += len(labels)
        self._sum += float(self._values(outputs, labels).sum())

    def __add__(self, other: "Mean") -> "Mean":
        both = Mean(self.name, self.unit, self._values)
        both._count, both._sum = self._count + other._count, self._sum + other._sum
        return both

    @property
    def value(self) -> float:
        """The mean; NaN before the first answer."""
        return self._sum / self._count if self._count else float("nan")


class Auc:
    """The area under the ROC curve, from counts in bins (Mann & Whitney 1947); K logits are K answers."""

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
