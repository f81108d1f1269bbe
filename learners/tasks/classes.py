"""One of K classes: K logits."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor
from torch.nn import functional as F

from learners.tasks.metrics import LOG_LOSS, Mean, Metric
from learners.tasks.task import LOGIT_FLOOR
from streams.errors import MalformedEvent


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

    def metrics(self) -> tuple[Metric, ...]:
        """Return log loss and accuracy, the share of answers whose largest logit is the label's."""
        return Mean(LOG_LOSS, "nats", self.losses), Mean("accuracy", "", lambda z, y: (z.argmax(1) == y).float())

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
