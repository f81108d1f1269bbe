"""Tasks: from an outcome's label to the loss, its slope, and how far two answers can be apart.

Owns what a label means. Does not know models, batches in time, or promotion. Outputs have shape (N, K), labels (N,);
`K` is the task's `outputs`. Everything is computed on served outputs: raw output plus live intercept.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor
from torch.nn import functional as F

from streams.errors import MalformedEvent

LOGIT_FLOOR = 9.21  # |logit| beyond this is a probability under 1e-4: served probabilities are floored there


class Task(Protocol):
    """What the learner, the distiller and the gate need to know of a label."""

    @property
    def outputs(self) -> int:
        """K, the width of the model's output."""
        ...

    def check(self, label: float) -> None:
        """Refuse a label that is not the task's.

        Raises:
            MalformedEvent: with what it was and what would be right.
        """
        ...

    def losses(self, output: Tensor, label: Tensor) -> Tensor:
        """Loss of each row, shape (N,)."""
        ...

    def soft_losses(self, teacher: Tensor, student: Tensor, temperature: float) -> Tensor:
        """Distance of the student's answer from the teacher's, each row, shape (N,), without the factor T²."""
        ...

    def residual(self, served: Sequence[float], label: float) -> tuple[float, ...]:
        """Minus the loss's slope in each of the K outputs: the way in which the live intercept moves."""
        ...

    def worst_gap(self, candidate: Tensor, champion: Tensor) -> Tensor:
        """b = max over labels of [loss(candidate) - loss(champion)], at least 0, shape (N,); known before the label."""
        ...


@dataclass(frozen=True)
class Binary:
    """Yes or no, one logit. Loss: log loss with probabilities floored at 1e-4."""

    outputs: int = 1

    def check(self, label: float) -> None:
        """Accept 0 and 1."""
        if label not in (0, 1):
            raise MalformedEvent(f"a binary label is 0 or 1, got {label!r}")

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


@dataclass(frozen=True)
class Classes:
    """One of K classes, K logits. Loss: cross-entropy with log-probabilities floored at log 1e-4."""

    outputs: int

    def check(self, label: float) -> None:
        """Accept whole numbers from 0 to K - 1."""
        if not 0 <= label < self.outputs or label != int(label):
            raise MalformedEvent(f"a class label is a whole number from 0 to {self.outputs - 1}, got {label!r}")

    def _log_p(self, output: Tensor) -> Tensor:
        return F.log_softmax(output, dim=1).clamp(min=-LOGIT_FLOOR)

    def losses(self, output: Tensor, label: Tensor) -> Tensor:
        """Cross-entropy."""
        return -self._log_p(output).gather(1, label.long()[:, None])[:, 0]

    def soft_losses(self, teacher: Tensor, student: Tensor, temperature: float) -> Tensor:
        """KL(teacher ‖ student) of the two softmaxes at the temperature."""
        target = F.log_softmax(teacher / temperature, dim=1)
        return F.kl_div(F.log_softmax(student / temperature, dim=1), target, log_target=True, reduction="none").sum(1)

    def residual(self, served: Sequence[float], label: float) -> tuple[float, ...]:
        """Give onehot(y) - p."""
        top = max(served)
        weights = [math.exp(z - top) for z in served]
        total = sum(weights)
        return tuple((k == label) - w / total for k, w in enumerate(weights))

    def worst_gap(self, candidate: Tensor, champion: Tensor) -> Tensor:
        """Largest of the gaps over the classes."""
        return (self._log_p(champion) - self._log_p(candidate)).amax(1).clamp(min=0)


@dataclass(frozen=True)
class Regression:
    """A number. Loss: Huber with threshold `delta` (in the label's unit), so that its slope is bounded."""

    delta: float = 1.0
    outputs: int = 1

    def check(self, label: float) -> None:
        """Accept finite numbers."""
        if not math.isfinite(label):
            raise MalformedEvent(f"a regression label is a finite number, got {label!r}")

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


def _entropy(p: Tensor) -> Tensor:
    return -(torch.xlogy(p, p) + torch.xlogy(1 - p, 1 - p))
