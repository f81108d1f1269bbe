"""Yes or no: one logit."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from learners.tasks.metrics import LOG_LOSS, Auc, Mean, Metric
from learners.tasks.task import LOGIT_FLOOR
from streams.errors import MalformedEvent


@dataclass(frozen=True)
class Binary:
    """Yes or no, one logit. Loss: log loss with probabilities floored at 1e-4."""

    outputs: int = 1

    def check(self, label: float) -> None:
        """Accept 0 and 1."""
        if label not in (0, 1):
            raise MalformedEvent(f"a binary label is 0 or 1, got {label!r}")

    def metrics(self) -> tuple[Metric, ...]:
        """Return log loss and AUC."""
        return Mean(LOG_LOSS, "nats", self.losses), Auc()

    def losses(self, output: Tensor, label: Tensor) -> Tensor:
        """Log loss."""
        logit = output[:, 0].clamp(-LOGIT_FLOOR, LOGIT_FLOOR)
        return F.binary_cross_entropy_with_logits(logit, label.to(logit), reduction="none")

    def soft_losses(self, teacher: Tensor, student: Tensor, temperature: float) -> Tensor:
        """KL(teacher ‖ student) of the two Bernoullis at the temperature."""
        target, logit = torch.sigmoid(teacher[:, 0] / temperature), student[:, 0] / temperature
        return F.binary_cross_entropy_with_logits(logit, target, reduction="none") - _entropy(target)

    def residual(self, served: Sequence[float], label: float) -> tuple[float, ...]:
        """Give y - p."""
        return (label - 1.0 / (1.0 + math.exp(-max(-30.0, min(30.0, served[0])))),)

    def worst_gap(self, candidate: Tensor, champion: Tensor) -> Tensor:
        """Largest of the gaps at y = 0 and y = 1."""
        ours, theirs = (t[:, 0].clamp(-LOGIT_FLOOR, LOGIT_FLOOR) for t in (candidate, champion))
        at_one = F.softplus(-ours) - F.softplus(-theirs)
        at_zero = F.softplus(ours) - F.softplus(theirs)
        return torch.maximum(at_one, at_zero).clamp(min=0)


def _entropy(p: Tensor) -> Tensor:
    return -(torch.xlogy(p, p) + torch.xlogy(1 - p, 1 - p))
