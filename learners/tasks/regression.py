"""A number: one output in the label's unit."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor
from torch.nn import functional as F

from compressors.arguments import named
from learners.tasks.metrics import Mean, Metric
from streams.errors import ConfigError, MalformedEvent


@named(ConfigError)
@dataclass(frozen=True)
class Regression:
    """A number: one output ŷ in the label's unit. A label y is any finite number.

    The loss is Huber's (1964), in the label's unit squared: e²/2 of an error e = y − ŷ up to `delta`, in the label's
    unit, and delta (|e| − delta/2) beyond. So its slope is at most delta, and no single label moves the model far.

    >>> import torch
    >>> task = Regression(delta=2.0)
    >>> task.losses(torch.tensor([[1.0], [1.0]]), torch.tensor([2.0, 11.0]))
    tensor([ 0.5000, 18.0000])
    >>> task.residual([1.0], 11.0)
    (2.0,)
    >>> task.check(float("nan"))
    Traceback (most recent call last):
    streams.errors.MalformedEvent: a regression label is a finite number, got nan
    """

    delta: float = 1.0
    outputs: int = 1

    def check(self, label: float) -> None:
        """Accept finite numbers.

        Raises:
            MalformedEvent: the label is infinite or not a number.
        """
        if not math.isfinite(label):
            raise MalformedEvent(f"a regression label is a finite number, got {label!r}")

    def metrics(self) -> tuple[Metric, ...]:
        """Return the Huber loss (the label's unit squared) and the mean absolute error (the label's unit)."""
        error = Mean("mean absolute error", "label unit", lambda z, y: (z[:, 0] - y).abs())
        return Mean("Huber loss", "label unit²", self.losses), error

    def losses(self, output: Tensor, label: Tensor) -> Tensor:
        """Return the Huber loss (N,) of outputs (N, 1) against labels (N,)."""
        return F.huber_loss(output[:, 0], label.to(output), delta=self.delta, reduction="none")

    def soft_losses(self, teacher: Tensor, student: Tensor, temperature: float) -> Tensor:
        """Return half the squared distance, (N, 1) twice to (N,); the temperature has no meaning here."""
        return 0.5 * (teacher[:, 0] - student[:, 0]) ** 2

    def residual(self, served: Sequence[float], label: float) -> tuple[float, ...]:
        """Return y − ŷ of one served answer, cut to ±delta: length 1, in the label's unit."""
        return (max(-self.delta, min(self.delta, label - served[0])),)

    def worst_gap(self, candidate: Tensor, champion: Tensor) -> Tensor:
        """Return delta |Δŷ|, which bounds the gap because the loss's slope is at most delta: (N, 1) twice to (N,)."""
        return self.delta * (candidate[:, 0] - champion[:, 0]).abs()
