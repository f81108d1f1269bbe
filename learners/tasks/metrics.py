"""Streaming metrics: each counts answers as they come, and two of one kind add up, so that months make a year.

Owns counting, names and units. Does not know tasks, or whose answers are measured.
"""

from collections.abc import Callable
from typing import Protocol, Self

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

LOG_LOSS, AUC = "log loss", "AUC"
BINS = 8_192  # over the logit's range of ±9.21: AUC within about 1e-4 of the exact one


class Metric(Protocol):
    """What is measured of a model's answers, with its name and unit as people see them ("": it has no unit)."""

    name: str
    unit: str

    def add(self, outputs: Tensor, labels: Tensor) -> None:
        """Count answers of shape (N, K) against labels (N,)."""
        ...

    def __add__(self, other: Self) -> Self:
        """Return the metric of both together."""
        ...

    @property
    def value(self) -> float:
        """Its value so far; NaN where there is none yet."""
        ...


class Mean:
    """The mean over the answers of what `rows` gives for each: outputs (N, K) and labels (N,) to values (N,)."""

    def __init__(self, name: str, unit: str, rows: Callable[[Tensor, Tensor], Tensor]) -> None:
        self.name, self.unit, self._rows = name, unit, rows
        self._count, self._sum = 0, 0.0

    def add(self, outputs: Tensor, labels: Tensor) -> None:
        """Count answers."""
        self._count += len(labels)
        self._sum += float(self._rows(outputs, labels).sum())

    def __add__(self, other: "Mean") -> "Mean":
        both = Mean(self.name, self.unit, self._rows)
        both._count, both._sum = self._count + other._count, self._sum + other._sum
        return both

    @property
    def value(self) -> float:
        """The mean; NaN before the first answer."""
        return self._sum / self._count if self._count else float("nan")


class Auc:
    """Area under the ROC curve of one logit, from counts in bins (Mann & Whitney 1947)."""

    def __init__(self) -> None:
        self.name, self.unit = AUC, ""
        self._bins: NDArray[np.int64] = np.zeros((2, BINS), dtype=np.int64)  # by label: no, yes

    def add(self, outputs: Tensor, labels: Tensor) -> None:
        """Count answers."""
        place = ((outputs[:, 0].double() / 18.42 + 0.5) * BINS).long().clamp(0, BINS - 1).numpy()
        yes = labels.numpy() > 0.5
        for row, chosen in enumerate((place[~yes], place[yes])):
            self._bins[row] += np.bincount(chosen, minlength=BINS)

    def __add__(self, other: "Auc") -> "Auc":
        both = Auc()
        both._bins = self._bins + other._bins
        return both

    @property
    def value(self) -> float:
        """The chance that a yes scores above a no, ties counting half; NaN while one label is missing."""
        no, yes = self._bins
        pairs = int(no.sum()) * int(yes.sum())
        below = np.cumsum(no) - no
        return float((yes * (below + 0.5 * no)).sum() / pairs) if pairs else float("nan")
