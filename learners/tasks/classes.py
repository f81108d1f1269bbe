"""One of K classes: K logits."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor
from torch.nn import functional as F

from compressors.arguments import named
from learners.tasks.metrics import Mean, Metric
from learners.tasks.names import LOG_LOSS
from learners.tasks.task import LOGIT_FLOOR, rounded
from streams.errors import ConfigError, MalformedEvent


@named(ConfigError)
@dataclass(frozen=True)
class Classes:
    """One of K classes: K logits z, the chances being p = softmax(z). A label y is a whole number from 0 to K − 1.

    `outputs` is K. The loss is the cross-entropy −log p[y], in nats (Good 1952). log p is at least −9.21: no chance is
    below 1e-4, so one sure and wrong answer costs at most 9.2 nats.

    >>> import torch
    >>> task = Classes(outputs=3)
    >>> task.losses(torch.tensor([[0.0, 0.0, 0.0], [4.0, 0.0, 0.0]]), torch.tensor([2.0, 0.0]))
    tensor([1.0986, 0.0360])
    >>> task.check(3)
    Traceback (most recent call last):
    streams.errors.MalformedEvent: a class label is a whole number from 0 to 2, got 3
    """

    outputs: int

    def check(self, label: float) -> None:
        """Accept whole numbers from 0 to K − 1.

        Raises:
            MalformedEvent: any other label.
        """
        if not 0 <= label < self.outputs or label != int(label):
            raise MalformedEvent(f"a class label is a whole number from 0 to {self.outputs - 1}, got {label!r}")

    def _log_p(self, output: Tensor) -> Tensor:
        return F.log_softmax(output, dim=1).clamp(min=-LOGIT_FLOOR)

    def answers(self, served: Tensor) -> list[dict[str, Any]]:
        """Return {"class": the likeliest, "probabilities": all K of softmax(z)} for each row of logits (N, K).

        >>> import torch
        >>> Classes(outputs=2).answers(torch.tensor([[0.0, 2.0]]))
        [{'class': 1, 'probabilities': [0.119203, 0.880797]}]
        """
        chances = rounded(F.softmax(served.double(), dim=1)).tolist()
        return [{"class": k, "probabilities": row} for k, row in zip(served.argmax(1).tolist(), chances, strict=True)]

    def metrics(self) -> tuple[Metric, ...]:
        """Return the log loss (nats) and the accuracy, both without an answer yet.

        The accuracy is the share of the answers whose largest logit is the label's.
        """
        return Mean(LOG_LOSS, "nats", self.losses), Mean("accuracy", "", lambda z, y: (z.argmax(1) == y).float())

    def losses(self, output: Tensor, label: Tensor) -> Tensor:
        """Return the cross-entropy (N,) of logits (N, K) against labels (N,)."""
        return -self._log_p(output).gather(1, label.long()[:, None])[:, 0]

    def soft_losses(self, teacher: Tensor, student: Tensor, temperature: float) -> Tensor:
        """Return KL(teacher ‖ student) of the two softmaxes at the temperature, in nats: (N, K) twice to (N,)."""
        target = F.log_softmax(teacher / temperature, dim=1)
        return F.kl_div(F.log_softmax(student / temperature, dim=1), target, log_target=True, reduction="none").sum(1)

    def residual(self, served: Sequence[float], label: float) -> tuple[float, ...]:
        """Return onehot(y) − p of one served answer, the slope of the loss with its sign changed: length K."""
        top = max(served)
        weights = [math.exp(z - top) for z in served]
        total = sum(weights)
        return tuple((k == label) - w / total for k, w in enumerate(weights))

    def worst_gap(self, candidate: Tensor, champion: Tensor) -> Tensor:
        """Return the largest gap over the classes, at least 0, in nats: (N, K) twice to (N,)."""
        return (self._log_p(champion) - self._log_p(candidate)).amax(1).clamp(min=0)
