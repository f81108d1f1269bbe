"""By what losses are measured: the spread of the labels so far, for a task whose labels have a unit.

Owns the task in units of that spread, and that both networks answer in the label's own unit. Does not know when a label
comes.
"""

from collections.abc import Sequence
from typing import cast

from torch import Tensor, nn

from compressors.data import Data, Scaled
from compressors.scale import UNIT, Scale, of, standardize
from learners.online.networks.network import Network
from learners.online.spread import Spread
from learners.tasks.task import Task
from streams.events import Target


class Measure:
    """`task` is measured by the scale in use; one without a unit stays as it is, and nothing is done for it."""

    def __init__(self, task: Task) -> None:
        self.task = task
        self._labels = Spread() if isinstance(task, Scaled) else None

    @property
    def exact(self) -> bool:
        """Whether labels are read in float64: they have a unit, in which their spread may be small."""
        return self._labels is not None

    @property
    def scale(self) -> Scale | None:
        """The mean and spread of the labels so far; None for a task without a unit."""
        return self.task.scale if isinstance(self.task, Scaled) else None

    @property
    def unknown(self) -> bool:
        """Whether no label has told the scale yet."""
        return self._labels is not None and self._labels.scale == UNIT

    def begin(self, model: nn.Module, data: Data) -> None:
        """Begin at a history's scale, which the model carries from now on, unless it has the labels' unit already."""
        if self._labels is not None:
            standardize(model, self._labels.begin(data.labels), data.rows, data.labels)
            if of(model) is None:
                self._labels.scale = None

    def add(self, labels: Sequence[Target]) -> None:
        """Count more labels, each of which is one number where the task has a unit."""
        if self._labels is not None:
            for label in labels:
                if isinstance(label, float):
                    self._labels.add(label)

    def settle(self) -> None:
        """Use the scale of the labels so far."""
        if self._labels is not None:
            self._labels.settle()

    def apply(self, *networks: Network) -> Task:
        """Let the networks carry the scale in use; return the task that is measured by it."""
        if self._labels is not None and isinstance(self.task, Scaled):
            scale = self._labels.scale
            self.task = cast(Task, self.task.at(scale or self._labels.now))
            if scale is not None:
                for network in networks:
                    network.carry(scale)
        return self.task

    def state(self) -> dict[str, Tensor]:
        """Return everything that the next label needs, by name."""
        return {} if self._labels is None else {"scale": self._labels.state()}

    def load(self, state: Tensor | None) -> None:
        """Go on from a state; None: from before there were scales."""
        if self._labels is not None:
            self._labels.load(state)
