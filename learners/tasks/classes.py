"""One of K classes: K logits."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor
from torch.nn import functional as F

from compressors.arguments import named, shown
from learners.tasks.metrics import Mean, Metric
from learners.tasks.names import LOG_LOSS
from learners.tasks.task import LOGIT_FLOOR, rounded
from learners.tasks.theirs import LEAST, chances, is_number
from learners.tasks.vocabulary import Names, index_of, name_of, names_of, size
from streams.errors import ConfigError, MalformedEvent
from streams.events import Label


@named(ConfigError)
@dataclass(frozen=True)
class Classes:
    """One of K classes: K logits z, the chances being p = softmax(z). A label y is the index of a class, or its name.

    `classes` is K, or the K names, in the order of the logits. The loss is the cross-entropy −log p[y], in nats (Good
    1952). log p is at least −9.21: no chance is below 1e-4, so one sure and wrong answer costs at most 9.2 nats.

    >>> import torch
    >>> task = Classes(("cat", "dog", "bird"))
    >>> task.losses(torch.tensor([[0.0, 0.0, 0.0], [4.0, 0.0, 0.0]]), torch.tensor([2.0, 0.0]))
    tensor([1.0986, 0.0360])
    >>> task.target("bird")
    2.0
    >>> task.target("brid")
    Traceback (most recent call last):
    streams.errors.MalformedEvent: no class is called 'brid'; did you mean 'bird'?
    """

    classes: Names

    def __post_init__(self) -> None:
        object.__setattr__(self, "classes", names_of(self.classes, "Classes.classes", least=2))

    @property
    def outputs(self) -> int:
        """K, a logit for each class."""
        return size(self.classes)

    def target(self, label: Label) -> float:
        """Return the index of a class, of its name too.

        Raises:
            MalformedEvent: there is no such class.
        """
        return float(index_of(label, self.classes, "class"))

    def _log_p(self, output: Tensor) -> Tensor:
        return F.log_softmax(output, dim=1).clamp(min=-LOGIT_FLOOR)

    def answers(self, served: Tensor) -> list[dict[str, Any]]:
        """Return {"class": the likeliest, "probabilities": all K of softmax(z)} for each row of logits (N, K).

        The class is its name where classes have names; the chances are in the order of the classes.

        >>> import torch
        >>> Classes(("no", "yes")).answers(torch.tensor([[0.0, 2.0]]))
        [{'class': 'yes', 'probabilities': [0.119203, 0.880797]}]
        """
        likeliest = [name_of(k, self.classes) for k in served.argmax(1).tolist()]
        chances = rounded(F.softmax(served.double(), dim=1)).tolist()
        return [{"class": name, "probabilities": row} for name, row in zip(likeliest, chances, strict=True)]

    def output_of(self, answer: Any) -> tuple[float, ...]:
        """Return log p of K chances, in order or by name, whose sum need not be 1.

        Raises:
            MalformedEvent: the answer is none of these, or all are 0.
        """
        row = chances(answer, self.classes)
        if not all(is_number(p) and p >= 0 for p in row) or not 0 < (total := sum(row)) < math.inf:
            raise MalformedEvent(f"an answer is probabilities, none below 0 and not all 0, got {shown(answer)}")
        return tuple(math.log(max(p / total, LEAST)) for p in row)

    def metrics(self) -> tuple[Metric, ...]:
        """Return the log loss (nats) and the accuracy, both without an answer yet.

        The accuracy is the share of the answers whose largest logit is the label's.
        """
        return Mean(LOG_LOSS, "nats", self.losses), Mean("accuracy", "", lambda z, y: (z.argmax(1) == y).float())

    def losses(self, output: Tensor, target: Tensor) -> Tensor:
        """Return the cross-entropy (N,) of logits (N, K) against targets (N,)."""
        return -self._log_p(output).gather(1, target.long()[:, None])[:, 0]

    def soft_losses(self, teacher: Tensor, student: Tensor, temperature: float) -> Tensor:
        """Return KL(teacher ‖ student) of the two softmaxes at the temperature, in nats: (N, K) twice to (N,)."""
        target = F.log_softmax(teacher / temperature, dim=1)
        return F.kl_div(F.log_softmax(student / temperature, dim=1), target, log_target=True, reduction="none").sum(1)

    def residual(self, served: Sequence[float], target: float) -> tuple[float, ...]:
        """Return onehot(y) − p of one served answer, the slope of the loss with its sign changed: length K."""
        top = max(served)
        weights = [math.exp(z - top) for z in served]
        total = sum(weights)
        return tuple((k == target) - w / total for k, w in enumerate(weights))

    def worst_gap(self, candidate: Tensor, champion: Tensor) -> Tensor:
        """Return the largest gap over the classes, at least 0, in nats: (N, K) twice to (N,)."""
        return (self._log_p(champion) - self._log_p(candidate)).amax(1).clamp(min=0)
