"""Streaming metrics: mean loss, and AUC from counts in bins, so that they can be added up by month and looked at live.

Owns counting. Does not know whose scores they are.
"""

import numpy as np
import torch
from numpy.typing import NDArray

from learners.tasks.task import Task

BINS = 8_192  # over the logit's range of ±9.21: AUC within about 1e-4 of the exact one


class Scores:
    """Mean loss and AUC of one model's answers; two of them add up."""

    def __init__(self) -> None:
        self.count, self.loss_sum = 0, 0.0
        self._bins: NDArray[np.int64] = np.zeros((2, BINS), dtype=np.int64)  # by label: no, yes

    def add(self, task: Task, served: torch.Tensor, labels: torch.Tensor) -> None:
        """Count answers of shape (N, K) against labels (N,)."""
        self.count += len(labels)
        self.loss_sum += float(task.losses(served, labels).sum())
        if task.outputs == 1:
            place = ((served[:, 0].double() / 18.42 + 0.5) * BINS).long().clamp(0, BINS - 1).numpy()
            yes = labels.numpy() > 0.5
            for row, chosen in enumerate((place[~yes], place[yes])):
                self._bins[row] += np.bincount(chosen, minlength=BINS)

    def __add__(self, other: "Scores") -> "Scores":
        total = Scores()
        total.count, total.loss_sum = self.count + other.count, self.loss_sum + other.loss_sum
        total._bins = self._bins + other._bins
        return total

    @property
    def loss(self) -> float:
        """Mean loss; NaN before the first answer."""
        return self.loss_sum / self.count if self.count else float("nan")

    @property
    def auc(self) -> float:
        """Chance that a yes scores above a no, ties counting half (Mann-Whitney); NaN while one label is missing."""
        no, yes = self._bins
        pairs = int(no.sum()) * int(yes.sum())
        below = np.cumsum(no) - no
        return float((yes * (below + 0.5 * no)).sum() / pairs) if pairs else float("nan")
