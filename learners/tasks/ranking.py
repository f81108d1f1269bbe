"""An order of up to K items that one request asks about: K scores, learned from pairs."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor
from torch.nn import functional as F

from compressors.arguments import MOST, Range, named, shown
from learners.tasks.metrics import Mean, Metric
from learners.tasks.task import rounded
from streams.errors import ConfigError, MalformedEvent
from streams.events import Label

UNSEEN = -1.0  # the relevance of an item that was not there, or that nobody looked at


@named(ConfigError, ranges={"items": Range(2, MOST)})
@dataclass(frozen=True)
class Ranking:
    """An order of up to `items` items, which a request has together: K scores s, in the order of the request.

    A label is the list of the items' relevances, numbers of at least 0: 1 for what was clicked and 0 for what was only
    seen, or stars. None is an item that nobody saw; those that a shorter list lacks count as that.

    The loss is the mean over all pairs i, j with relevances y_i > y_j of log(1 + exp(s_j − s_i)), in nats (RankNet:
    Burges et al., ICML 2005); 0 where there are none. The live intercept stays 0: it would learn places, not items.

    >>> import torch
    >>> task = Ranking(3)
    >>> task.target([0, 1])
    (0.0, 1.0, -1.0)
    >>> task.losses(torch.tensor([[0.0, 0.0, 9.0], [0.0, 2.0, 9.0]]), torch.tensor([[0.0, 1.0, -1.0]] * 2))
    tensor([0.6931, 0.1269])
    >>> task.target(["yes"])
    Traceback (most recent call last):
    streams.errors.MalformedEvent: a label is a list of at most 3 relevances, each at least 0 or null, got ['yes']
    """

    items: int

    @property
    def outputs(self) -> int:
        """K, a score for each item."""
        return self.items

    def target(self, label: Label) -> tuple[float, ...]:
        """Return K relevances; −1 for an item that was not seen.

        Raises:
            MalformedEvent: the label is no such list.
        """
        row = label if isinstance(label, list | tuple) else ["no list"]
        seen = [UNSEEN if one is None else one for one in row]
        if len(seen) > self.items or not all(map(_relevance, seen)):
            right = f"a list of at most {self.items} relevances, each at least 0 or null"
            raise MalformedEvent(f"a label is {right}, got {shown(label)}")
        return (*map(float, seen), *(UNSEEN,) * (self.items - len(seen)))

    def answers(self, served: Tensor) -> list[dict[str, Any]]:
        """Return {"order": the items' places in the request, best first, "scores": of all K} for each row (N, K).

        >>> import torch
        >>> Ranking(3).answers(torch.tensor([[0.5, 2.0, -1.0]]))
        [{'order': [1, 0, 2], 'scores': [0.5, 2.0, -1.0]}]
        """
        orders = served.argsort(dim=1, descending=True, stable=True).tolist()
        return [{"order": order, "scores": row} for order, row in zip(orders, rounded(served).tolist(), strict=True)]

    def metrics(self) -> tuple[Metric, ...]:
        """Return the pair loss (nats), and of the pairs the share in the right order, each list counting once."""
        right = Mean("pairs in order", "", self._right, lambda _, target: _pairs(target).any(2).any(1).float())
        return Mean("pair loss", "nats", self.losses), right

    def losses(self, output: Tensor, target: Tensor) -> Tensor:
        """Return the mean loss of the pairs (N,) of scores (N, K) against relevances (N, K)."""
        return _mean(F.softplus(-_differences(output)), _pairs(target))

    def _right(self, output: Tensor, target: Tensor) -> Tensor:
        off = _differences(output)
        return _mean((off > 0).to(off) + 0.5 * (off == 0), _pairs(target))

    def soft_losses(self, teacher: Tensor, student: Tensor, temperature: float) -> Tensor:
        """Return KL(teacher ‖ student) of who comes first, softmax(s), at the temperature: (N, K) twice to (N,).

        That is ListNet's distance of two orders (Cao et al., ICML 2007).
        """
        theirs = F.log_softmax(teacher / temperature, dim=1)
        return F.kl_div(F.log_softmax(student / temperature, dim=1), theirs, log_target=True, reduction="none").sum(1)

    def residual(self, served: Sequence[float], target: Sequence[float]) -> tuple[float, ...]:
        """Return zeros: K places have no intercept."""
        return (0.0,) * self.items

    def worst_gap(self, candidate: Tensor, champion: Tensor) -> Tensor:
        """Return the largest gap of a pair, which no mean of pairs exceeds: (N, K) twice to (N,)."""
        ours, theirs = (F.softplus(-_differences(scores)) for scores in (candidate, champion))
        return (ours - theirs).flatten(1).amax(1)


def _relevance(value: Any) -> bool:
    return isinstance(value, float | int) and math.isfinite(value) and (value >= 0 or value == UNSEEN)


def _differences(scores: Tensor) -> Tensor:
    """Return s_i − s_j (N, K, K)."""
    return scores[:, :, None] - scores[:, None, :]


def _pairs(target: Tensor) -> Tensor:
    """Return which pairs i, j (N, K, K) have y_i > y_j and were seen."""
    return (target[:, :, None] > target[:, None, :]) & (target[:, None, :] > UNSEEN)


def _mean(values: Tensor, chosen: Tensor) -> Tensor:
    """Return the mean of the chosen values (N, K, K) of each row; 0 where none is."""
    return (values * chosen).sum((1, 2)) / chosen.sum((1, 2)).clamp(min=1)
