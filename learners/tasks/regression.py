"""A number: one output in the label's unit, the middle of what may come (`Regression`) or a quantile (`Quantile`)."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Self

import torch
from torch import Tensor
from torch.nn import functional as F

from compressors.arguments import Range, named, shown
from compressors.scale import UNIT, Scale
from learners.tasks.metrics import Mean, Metric
from learners.tasks.task import EXACT_DIGITS, rounded
from streams.errors import ConfigError, MalformedEvent
from streams.events import Label

LARGEST = torch.finfo(torch.float32).max


@dataclass(frozen=True)
class Number:
    """What tasks of a number share: the label, its scale, and what an answer means.

    `scale` is the labels' mean and spread. It is found when a model is compressed or learns, and follows the labels;
    before that the spread counts as 1. Losses are measured in spreads, so that they are the same in any unit.
    """

    scale: Scale = field(default=UNIT, kw_only=True)

    @property
    def outputs(self) -> int:
        """One number."""
        return 1

    def target(self, label: Label) -> float:
        """Return the label, if it is a number that an answer can be.

        Raises:
            MalformedEvent: it is infinite, not a number, or beyond float32.
        """
        if isinstance(label, float | int) and abs(label) <= LARGEST:
            return float(label)
        beyond = " of at most 3.4e38, as answers are" if isinstance(label, float) and math.isfinite(label) else ""
        raise MalformedEvent(f"a regression label is a finite number{beyond}, got {shown(label)}")

    def fitted(self, labels: Tensor) -> Self:
        """Return the task with the scale of these labels (N,)."""
        return self.at(Scale.of(labels))

    def at(self, scale: Scale) -> Self:
        """Return the task with this scale."""
        return replace(self, scale=Scale(*scale))

    def answers(self, served: Tensor) -> list[dict[str, Any]]:
        """Return {"value": ŷ}, in the label's unit, for each output of (N, 1).

        >>> import torch
        >>> Regression().answers(torch.tensor([[2.0], [1234567.8]]))
        [{'value': 2.0}, {'value': 1234567.75}]
        """
        return [{"value": value} for value in rounded(served[:, 0], EXACT_DIGITS).tolist()]

    def output_of(self, answer: Any) -> tuple[float, ...]:
        """Return the value that was answered.

        Raises:
            MalformedEvent: it is no finite number.
        """
        return (self.target(answer),)

    def soft_losses(self, teacher: Tensor, student: Tensor, temperature: float) -> Tensor:
        """Return half the squared distance in spreads, (N, 1) twice to (N,); the temperature has no meaning here."""
        return 0.5 * ((teacher[:, 0] - student[:, 0]) / self.scale.spread) ** 2

    def _off(self, output: Tensor, target: Tensor) -> Tensor:
        """Return e = (y − ŷ) / s."""
        return (target.to(output) - output[:, 0]) / self.scale.spread


@named(ConfigError, ranges={"delta": Range(0, open=True)})
@dataclass(frozen=True)
class Regression(Number):
    """A number: one output ŷ in the label's unit. A label y is any finite number.

    The loss is Huber's (1964), measured in spreads s of the labels: e²/2 of an error e = (y − ŷ) / s up to `delta`
    spreads, and delta (|e| − delta/2) beyond. So its slope is at most delta, and no single label moves the model far. A
    large delta makes it the squared loss, whose difference between two models nothing bounds: the gate needs a bound.

    >>> import torch
    >>> task = Regression(delta=2.0)
    >>> task.losses(torch.tensor([[1.0], [1.0]]), torch.tensor([2.0, 11.0]))
    tensor([ 0.5000, 18.0000])
    >>> task.residual([1.0], 11.0)
    (2.0,)
    >>> task.fitted(torch.tensor([10.0, 20.0, 30.0])).scale.mean
    20.0
    >>> task.target(float("nan"))
    Traceback (most recent call last):
    streams.errors.MalformedEvent: a regression label is a finite number, got nan
    """

    delta: float = 1.0

    def metrics(self) -> tuple[Metric, ...]:
        """Return the Huber loss (the labels' spread squared) and the mean absolute error (the label's unit)."""
        error = Mean("mean absolute error", "label unit", lambda z, y: (z[:, 0] - y).abs())
        return Mean("Huber loss", "spread²", self.losses), error

    def losses(self, output: Tensor, target: Tensor) -> Tensor:
        """Return the Huber loss (N,) of outputs (N, 1) against targets (N,)."""
        off = self._off(output, target)
        return F.huber_loss(off, torch.zeros_like(off), delta=self.delta, reduction="none")

    def residual(self, served: Sequence[float], target: float) -> tuple[float, ...]:
        """Return y − ŷ of one served answer, cut to ±delta spreads: length 1, in the label's unit."""
        most = self.delta * self.scale.spread
        return (max(-most, min(most, target - served[0])),)

    def worst_gap(self, candidate: Tensor, champion: Tensor) -> Tensor:
        """Return delta |Δŷ| / s, which bounds the gap as the loss's slope is at most delta: (N, 1) twice to (N,)."""
        return self.delta * ((candidate[:, 0] - champion[:, 0]) / self.scale.spread).abs()


@named(ConfigError, ranges={"level": Range(0, 1, open=True)})
@dataclass(frozen=True)
class Quantile(Number):
    """A quantile: one output ŷ in the label's unit, below which a share τ = `level` of the labels y should lie.

    The loss is the check loss, max(τ e, (τ − 1) e) of e = (y − ŷ) / s in spreads s of the labels (Koenker & Bassett
    1978): at 0.9, a label that is above costs nine times one that is as far below.

    >>> import torch
    >>> task = Quantile(0.9)
    >>> task.losses(torch.tensor([[1.0], [1.0]]), torch.tensor([2.0, 0.0]))
    tensor([0.9000, 0.1000])
    >>> task.residual([1.0], 2.0)
    (0.9,)
    """

    level: float

    def metrics(self) -> tuple[Metric, ...]:
        """Return the quantile loss (spreads), and the share of labels at or below the answers, which should be τ."""
        below = Mean("coverage", "", lambda z, y: (y <= z[:, 0]).float())
        return Mean("quantile loss", "spread", self.losses), below

    def losses(self, output: Tensor, target: Tensor) -> Tensor:
        """Return the check loss (N,) of outputs (N, 1) against targets (N,)."""
        off = self._off(output, target)
        return torch.maximum(self.level * off, (self.level - 1) * off)

    def residual(self, served: Sequence[float], target: float) -> tuple[float, ...]:
        """Return τ spreads where the label is above, τ − 1 where it is not: length 1, in the label's unit."""
        return ((self.level - (target <= served[0])) * self.scale.spread,)

    def worst_gap(self, candidate: Tensor, champion: Tensor) -> Tensor:
        """Return max(τ, 1 − τ) |Δŷ| / s, the largest slope times the distance: (N, 1) twice to (N,)."""
        steepest = max(self.level, 1 - self.level)
        return steepest * ((candidate[:, 0] - champion[:, 0]) / self.scale.spread).abs()
