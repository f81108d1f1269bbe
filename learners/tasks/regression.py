"""A number: one output in the label's unit."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor
from torch.nn import functional as F

from learners.tasks.metrics import Mean, Metric
from streams.errors import MalformedEvent


@dataclass(frozen=True)
class Regression:
    """A number. Loss: Huber with threshold `delta` (in the label's unit), so that its slope is bounded."""

    delta: float = 1.0
    outputs: int = 1

    def check(self, label: float) -> None:
        """Accept finite numbers."""
        if not math.isfinite(label):
            raise MalformedEvent(f"a regression label is a finite number, got {label!r}")

    def metrics(self) -> tuple[Metric, ...]:
        """Return the Huber loss and the mean absolute error."""
        error = Mean("mean absolute error", "label unit", lambda z, y: (z[:, 0] - y).abs())
        return Mean("Huber loss", "label unit²", self.losses), error

    def losses(self, output: Tensor, label: Tensor) -> Tensor:
        """Huber loss."""
        return F.huber_loss(output[:, 0], label.to(output), delta=self.delta, reduction="none")

    def soft_losses(self, teacher: Tensor, student: Tensor, temperature: float) -> Tensor:
        """Half the squared distance; the temperature has no meaning here."""
        return 0.5 * (teacher[:, 0] - student[:, 0]) ** 2

    def residual(self, served: Sequence[float], label: float) -> tuple[float, ...]:
        """Give y - ŷ, at most delta."""
        return (max(-self.delta, min(self.delta, label - served[0])),)

    def worst_gap(self, candidate: Tensor, champion: Tensor) -> Tensor:
        """Huber's slope is at most delta, so b = delta |Δŷ|."""
        return self.delta * (candidate[:, 0] - champion[:, 0]).abs()
