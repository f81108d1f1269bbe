"""A number: one output in the label's unit."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from compressors.arguments import Range, named, shown
from compressors.scale import UNIT, Scale
from learners.tasks.metrics import Mean, Metric
from learners.tasks.task import EXACT_DIGITS, rounded
from streams.errors import ConfigError, MalformedEvent
from streams.events import Label

LARGEST = torch.finfo(torch.float32).max


@named(ConfigError, ranges={"delta": Range(0, open=True)})
@dataclass(frozen=True)
class Regression:
    """A number: one output ŷ in the label's unit. A label y is any finite number.

    The loss is Huber's (1964), measured in spreads s of the labels, so that it is the same in any unit: e²/2 of an
    error e = (y − ŷ) / s up to `delta` spreads, and delta (|e| − delta/2) beyond. So its slope is at most delta, and no
    single label moves the model far. `scale` is the labels' mean and spread. It is found when a model is compressed or
    learns, and follows the labels; before that the spread counts as 1.

    >>> import torch
    >>> task = Regression(delta=2.0)
    >>> task.losses(torch.tensor([[1.0], [1.0]]), torch.tensor([2.0, 11.0]))
    tensor([ 0.5000, 18.0000])
    >>> task.residual([1.0], 11.0)
    (2.0,)
    >>> task.fitted(torch.tensor([10.0, 20.0, 30.0])).scale.mean
    20.0
    >>> task.target(float("nan"))
    Traceback (most recent call last):
    streams.errors.MalformedEvent: a regression label is a finite number, got nan
    """

    delta: float = 1.0
    scale: Scale = UNIT

    @property
    def outputs(self) -> int:
        """One number."""
        return 1

    def target(self, label: Label) -> float:
        """Return the label, if it is a number that an answer can be.

        Raises:
            MalformedEvent: it is infinite, not a number, or beyond float32.
        """
        if isinstance(label, float | int) and abs(label) <= LARGEST:
            return float(label)
        beyond = " of at most 3.4e38, as answers are" if isinstance(label, float) and math.isfinite(label) else ""
        raise MalformedEvent(f"a regression label is a finite number{beyond}, got {shown(label)}")

    def fitted(self, labels: Tensor) -> "Regression":
        """Return the task with the scale of these labels (N,)."""
        return self.at(Scale.of(labels))

    def at(self, scale: Scale) -> "Regression":
        """Return the task with this scale."""
        return replace(self, scale=Scale(*scale))

    def answers(self, served: Tensor) -> list[dict[str, Any]]:
        """Return {"value": ŷ}, in the label's unit, for each output of (N, 1).

        >>> import torch
        >>> Regression().answers(torch.tensor([[2.0], [1234567.8]]))
        [{'value': 2.0}, {'value': 1234567.75}]
        """
        return [{"value": value} for value in rounded(served[:, 0], EXACT_DIGITS).tolist()]

    def metrics(self) -> tuple[Metric, ...]:
        """Return the Huber loss (the labels' spread squared) and the mean absolute error (the label's unit)."""
        error = Mean("mean absolute error", "label unit", lambda z, y: (z[:, 0] - y).abs())
        return Mean("Huber loss", "spread²", self.losses), error

    def losses(self, output: Tensor, target: Tensor) -> Tensor:
        """Return the Huber loss (N,) of outputs (N, 1) against targets (N,)."""
        error = (output[:, 0] - target.to(output)) / self.scale.spread
        return F.huber_loss(error, torch.zeros_like(error), delta=self.delta, reduction="none")

    def soft_losses(self, teacher: Tensor, student: Tensor, temperature: float) -> Tensor:
        """Return half the squared distance in spreads, (N, 1) twice to (N,); the temperature has no meaning here."""
        return 0.5 * ((teacher[:, 0] - student[:, 0]) / self.scale.spread) ** 2

    def residual(self, served: Sequence[float], target: float) -> tuple[float, ...]:
        """Return y − ŷ of one served answer, cut to ±delta spreads: length 1, in the label's unit."""
        most = self.delta * self.scale.spread
        return (max(-most, min(most, target - served[0])),)

    def worst_gap(self, candidate: Tensor, champion: Tensor) -> Tensor:
        """Return delta |Δŷ| / s, which bounds the gap as the loss's slope is at most delta: (N, 1) twice to (N,)."""
        return self.delta * ((candidate[:, 0] - champion[:, 0]) / self.scale.spread).abs()
