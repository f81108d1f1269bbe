"""Yes or no: one logit."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from compressors.arguments import named, shown
from learners.tasks import logistic
from learners.tasks.metrics import Auc, Mean, Metric
from learners.tasks.names import LOG_LOSS
from learners.tasks.task import rounded
from learners.tasks.theirs import logit
from streams.errors import ConfigError, MalformedEvent
from streams.events import Label


@named(ConfigError)
@dataclass(frozen=True)
class Binary:
    """Yes or no: one logit z, the chance of yes being p = σ(z). A label y is 0 or 1.

    The loss is the log loss −y log p − (1 − y) log(1 − p), in nats (Good 1952). z is cut to ±9.21 first: no chance is
    below 1e-4, so one sure and wrong answer costs at most 9.2 nats.

    >>> import torch
    >>> task = Binary()
    >>> task.losses(torch.tensor([[0.0], [2.0], [50.0]]), torch.tensor([1.0, 1.0, 0.0]))
    tensor([0.6931, 0.1269, 9.2101])
    >>> task.target(0.5)
    Traceback (most recent call last):
    streams.errors.MalformedEvent: a binary label is 0 or 1, got 0.5
    """

    @property
    def outputs(self) -> int:
        """One logit."""
        return 1

    def target(self, label: Label) -> float:
        """Return 0 or 1.

        Raises:
            MalformedEvent: any other label.
        """
        if label not in (0, 1):
            raise MalformedEvent(f"a binary label is 0 or 1, got {shown(label)}")
        return float(label)

    def answers(self, served: Tensor) -> list[dict[str, Any]]:
        """Return {"probability": p}, p = σ(z), for each logit of (N, 1).

        >>> import torch
        >>> Binary().answers(torch.tensor([[0.0], [2.0]]))
        [{'probability': 0.5}, {'probability': 0.880797}]
        """
        return [{"probability": p} for p in rounded(torch.sigmoid(served[:, 0].double())).tolist()]

    def output_of(self, answer: Any) -> tuple[float, ...]:
        """Return the logit of a chance of yes.

        Raises:
            MalformedEvent: the answer is no probability.
        """
        return (logit(answer),)

    def metrics(self) -> tuple[Metric, ...]:
        """Return the log loss (nats) and the AUC, both without an answer yet."""
        return Mean(LOG_LOSS, "nats", self.losses), Auc()

    def losses(self, output: Tensor, target: Tensor) -> Tensor:
        """Return the log loss (N,) of logits (N, 1) against targets (N,)."""
        return logistic.log_loss(output[:, 0], target)

    def soft_losses(self, teacher: Tensor, student: Tensor, temperature: float) -> Tensor:
        """Return KL(teacher ‖ student) of the two chances at the temperature, in nats: (N, 1) twice to (N,)."""
        return logistic.divergence(teacher[:, 0], student[:, 0], temperature)

    def residual(self, served: Sequence[float], target: float) -> tuple[float, ...]:
        """Return y − p of one served answer, the slope of the log loss with its sign changed: length 1."""
        return (logistic.residual(served[0], target),)

    def worst_gap(self, candidate: Tensor, champion: Tensor) -> Tensor:
        """Return the larger gap of those at y = 0 and y = 1, at least 0, in nats: (N, 1) twice to (N,)."""
        return logistic.worst_gap(candidate[:, 0], champion[:, 0])
