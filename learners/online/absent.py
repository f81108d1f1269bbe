"""What a window that closed without an outcome teaches, where a late outcome may still correct it.

Counted are the outcomes J that came in their windows, the windows N that closed without one, and those outcomes C that
came later, the newer the more. Of all outcomes F = J / (J + C) come in the window; of the negatives 1 − C/N stay such.
A negative weighs

    ω = (1 − p) / (1 − F p)        p: how likely an outcome is, by the answer itself, or for live experts by what was
                                   sent; no slope goes through ω
    ω̄ = 1 − C/N                   the same on the whole, for answers that are no such chance

and a correction is one more sample of weight 1: the weights of ES-DFM (arXiv 2012.03245) without their common factor.
At the true p the mean slope is 0 if F does not depend on the features:

    F p (p − 1) + (1 − F) p (p − 1) + (1 − F p) ω p = 0

Owns the counts. Does not know what is learned with the weights.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from torch import Tensor

from learners.tasks.binary import Binary
from learners.tasks.task import Task
from streams.events import CORRECTION, NEGATIVE, Sample

MEMORY = 20_000  # samples: what was counted so long ago weighs 1/e
KEEPS = 1 - 1 / MEMORY
LEAST = 0.01  # of a weight


class Weight(NamedTuple):
    """A sample's weight on the whole, 1 unless it is a negative, and F when it came."""

    mean: float
    share: float
    negative: bool


OUTCOME = Weight(1.0, 1.0, negative=False)  # of what came


@dataclass
class Absent:
    """The counts J, N and C.

    >>> absent = Absent([80.0, 920.0, 20.0])
    >>> absent.share, round(absent.mean, 3)
    (0.8, 0.978)
    """

    counts: list[float] = field(default_factory=lambda: [0.0, 0.0, 0.0])

    @property
    def share(self) -> float:
        """F: of all outcomes, how many come in the window."""
        joined, _, corrected = self.counts
        return joined / (joined + corrected) if joined and corrected else 1.0

    @property
    def mean(self) -> float:
        """ω̄, the mean weight of a negative."""
        _, negatives, corrected = self.counts
        return max(LEAST, 1 - corrected / negatives) if negatives else 1.0

    def follow(self, samples: Iterable[Sample]) -> list[Weight]:
        """Count samples, one after the other; return the weight of each by what was counted before it."""
        weights = []
        joined, negatives, corrected = self.counts
        for sample in samples:
            kind, weight = sample.kind, OUTCOME
            if kind == NEGATIVE:
                self.counts = [joined, negatives, corrected]
                weight = Weight(self.mean, self.share, negative=True)
            weights.append(weight)
            joined, negatives, corrected = joined * KEEPS, negatives * KEEPS, corrected * KEEPS
            if kind == NEGATIVE:
                negatives += 1
            elif kind == CORRECTION:
                corrected += 1
            else:
                joined += 1
        self.counts = [joined, negatives, corrected]
        return weights

    def state(self) -> Tensor:
        """Return the counts."""
        return torch.tensor(self.counts, dtype=torch.float64)


def as_sent(weights: Sequence[Weight], output: Tensor, target: Tensor, task: Task) -> list[float]:
    """Return weights by the answers (N, K) that were sent, for learners that give none when they learn."""
    if not any(weight.negative for weight in weights):
        return [weight.mean for weight in weights]
    found: list[float] = Weighted(task, weights).of(output, target).tolist()
    return found


class Weighted:
    """A task's losses of N samples by their weights."""

    def __init__(self, task: Task, weights: Sequence[Weight]) -> None:
        self._task = task
        means, shares, negative = zip(*weights, strict=True)
        self._means, self._shares, self._negative = torch.tensor(means), torch.tensor(shares), torch.tensor(negative)

    def losses(self, output: Tensor, target: Tensor) -> Tensor:
        """Return the loss of each row, shape (N,)."""
        return self.of(output.detach(), target) * self._task.losses(output, target)

    def of(self, output: Tensor, target: Tensor) -> Tensor:
        """Return the weights (N,) of rows that were answered so."""
        if not isinstance(self._task, Binary) or target.dim() > 1:
            return self._means
        p = torch.sigmoid(output[:, 0] * (1 - 2 * target))
        weights = ((1 - p) / (1 - self._shares * p).clamp_min(LEAST)).clamp(LEAST, 1)
        return torch.where(self._negative, weights, 1.0)
