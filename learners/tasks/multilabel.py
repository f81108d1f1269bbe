"""Any of K classes at once: K logits, each a yes or no of its own."""

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
from learners.tasks.theirs import chances, logit
from learners.tasks.vocabulary import Names, index_of, name_of, names_of, size
from streams.errors import ConfigError, MalformedEvent
from streams.events import Label


@named(ConfigError)
@dataclass(frozen=True)
class MultiLabel:
    """Any of K classes at once, or none: K logits z, the chance of each being p = σ(z).

    `classes` is K, or the K names, in the order of the logits. A label is the list of the names that apply, or K
    numbers, 0 or 1. The loss is the mean of the K log losses, in nats, each as `Binary` has it.

    >>> import torch
    >>> task = MultiLabel(("sport", "politics", "money"))
    >>> task.target(["money", "sport"])
    (1.0, 0.0, 1.0)
    >>> task.losses(torch.tensor([[0.0, 0.0, 0.0], [2.0, -2.0, 2.0]]), torch.tensor([[1.0, 0.0, 1.0]] * 2))
    tensor([0.6931, 0.1269])
    >>> task.target(["sports"])
    Traceback (most recent call last):
    streams.errors.MalformedEvent: no class is called 'sports'; did you mean 'sport'?
    """

    classes: Names

    def __post_init__(self) -> None:
        object.__setattr__(self, "classes", names_of(self.classes, "MultiLabel.classes", least=2))

    @property
    def outputs(self) -> int:
        """K, a logit for each class."""
        return size(self.classes)

    def target(self, label: Label) -> tuple[float, ...]:
        """Return K numbers: 1 where a class applies, 0 where it does not.

        Raises:
            MalformedEvent: the label is no such list, or a name in it is unknown.
        """
        row: Sequence[Any] = label if isinstance(label, list | tuple) else [None]
        if all(isinstance(one, str) for one in row):
            applied = {index_of(name, self.classes, "class") for name in row}
            return tuple(float(k in applied) for k in range(self.outputs))
        if len(row) == self.outputs and all(one in (0, 1) for one in row):
            return tuple(map(float, row))
        names = "" if isinstance(self.classes, int) else ", or of names"
        raise MalformedEvent(f"a label is a list of {self.outputs} numbers, 0 or 1{names}, got {shown(label)}")

    def answers(self, served: Tensor) -> list[dict[str, Any]]:
        """Return {"classes": those with p of at least ½, "probabilities": all K} for each row of logits (N, K).

        >>> import torch
        >>> MultiLabel(("sport", "politics")).answers(torch.tensor([[2.0, -2.0]]))
        [{'classes': ['sport'], 'probabilities': [0.880797, 0.119203]}]
        """
        chances = rounded(torch.sigmoid(served.double())).tolist()
        applied = [[name_of(k, self.classes) for k in row.nonzero()[:, 0].tolist()] for row in served >= 0]
        return [{"classes": some, "probabilities": row} for some, row in zip(applied, chances, strict=True)]

    def output_of(self, answer: Any) -> tuple[float, ...]:
        """Return the logits of K chances, in order or by name.

        Raises:
            MalformedEvent: the answer is none of these.
        """
        return tuple(map(logit, chances(answer, self.classes)))

    def metrics(self) -> tuple[Metric, ...]:
        """Return the log loss (nats), and the AUC over all classes together, both without an answer yet."""
        return Mean(LOG_LOSS, "nats", self.losses), Auc()

    def losses(self, output: Tensor, target: Tensor) -> Tensor:
        """Return the mean log loss (N,) of logits (N, K) against targets (N, K)."""
        return logistic.log_loss(output, target).mean(1)

    def soft_losses(self, teacher: Tensor, student: Tensor, temperature: float) -> Tensor:
        """Return the mean KL(teacher ‖ student) of the chances at the temperature, in nats: (N, K) twice to (N,)."""
        return logistic.divergence(teacher, student, temperature).mean(1)

    def residual(self, served: Sequence[float], target: Sequence[float]) -> tuple[float, ...]:
        """Return y − p of each class, K times the slope: each intercept moves as that of a `Binary` would."""
        return tuple(logistic.residual(z, y) for z, y in zip(served, target, strict=True))

    def worst_gap(self, candidate: Tensor, champion: Tensor) -> Tensor:
        """Return the mean of the classes' gaps, each at its worse label, in nats: (N, K) twice to (N,)."""
        return logistic.worst_gap(candidate, champion).mean(1)
