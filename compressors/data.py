"""The rows that a step learns or measures on, and what compression needs of a task.

Knows no model, no recipe and no task.
"""

from collections.abc import Iterator
from functools import cached_property
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor

from compressors.reading import labels_of, rows_of
from compressors.rows import Batch, Collate, Rows
from compressors.scale import Scale

HELD_OUT = 0.05  # the newest share of the rows: parity and losses are measured on it, no step learns from it


class Losses(Protocol):
    """What compression needs of a task: its losses (N,). Shapes: outputs (N, K), targets (N,) or (N, T)."""

    def losses(self, output: Tensor, target: Tensor) -> Tensor:
        """Return the loss of each row."""
        ...

    def soft_losses(self, teacher: Tensor, student: Tensor, temperature: float) -> Tensor:
        """Return each row's loss towards the teacher's outputs softened by `temperature` T, without the factor T²."""
        ...


@runtime_checkable
class Scaled(Losses, Protocol):
    """A task whose labels have a unit: its losses are measured in units of the labels' spread.

    A model that learns it carries the scale, so that its training does not depend on the unit.
    """

    @property
    def scale(self) -> Scale:
        """The labels' mean and spread."""
        ...

    def fitted(self, labels: Tensor) -> "Scaled":
        """Return the task with the scale of these labels (N,)."""
        ...

    def at(self, scale: Scale) -> "Scaled":
        """Return the task with this scale."""
        ...


def fitted(losses: Losses, labels: Tensor) -> Losses:
    """Return a task that measures in units of these labels' spread, if it is of that kind."""
    return losses.fitted(labels) if isinstance(losses, Scaled) else losses


class Data:
    """Rows to learn or measure on, oldest first: the model's inputs, and the labels, (N,) or (N, T).

    `inputs` is a tensor (N, ...); or a tuple of them, the model's positional arguments; or a dict of them, by the names
    of these. Numpy arrays and lists of numbers are taken as well (float64 as float32). An input whose rows differ in
    length is a list of N tensors, or a nested one: each batch is filled with zeros at the end, up to its longest row.

    With `collate`, `inputs` are N rows of any kind, such as texts, and `collate(some of them)` makes the tensors of a
    batch, as torch's DataLoader has it. It is called for each batch, so that each can be padded to its longest row.

    `labels` are the task's targets: numbers, one a row, or T; (N, 1) is taken as (N,). What cannot be read is refused
    where it is first used.

    >>> import torch
    >>> data = Data(torch.zeros(100, 3), torch.zeros(100))
    >>> learn, measure = data.split()
    >>> len(learn), len(measure)
    (95, 5)
    >>> texts = Data(["a", "bcd", "ef"], [0, 1, 1], collate=lambda some: torch.tensor([[len(t)] for t in some]))
    >>> texts.at(torch.tensor([1, 2])).inputs
    (tensor([[3],
            [2]]),)
    """

    def __init__(self, inputs: Any, labels: Any, *, collate: Collate | None = None) -> None:
        self._inputs, self._labels, self._collate = inputs, labels, collate

    @cached_property
    def rows(self) -> Rows:
        """The rows' inputs.

        Raises:
            Unsuited: they cannot be read.
        """
        return rows_of(self._inputs, self._collate)

    @cached_property
    def labels(self) -> Tensor:
        """The labels, (N,) or (N, T).

        Raises:
            Unsuited: they cannot be read.
        """
        return labels_of(self._labels)

    @property
    def inputs(self) -> Batch:
        """The inputs of all rows as one batch."""
        return self.rows.batch()

    def __len__(self) -> int:
        """Return N, the number of labels."""
        return len(self.labels)

    def __iter__(self) -> Iterator[Any]:
        """Yield inputs and labels."""
        return iter((self.inputs, self.labels))

    def batch(self, rows: Tensor) -> tuple[Batch, Tensor]:
        """Return the model's inputs and the labels of some rows, by their indices (n,)."""
        return self.rows.batch(rows), self.labels[rows]

    def at(self, rows: Tensor) -> "Data":
        """Return copies of some of the rows, by their indices (n,) or a mask (N,)."""
        chosen = rows.nonzero()[:, 0] if rows.dtype == torch.bool else rows
        return Data(self.rows.at(chosen), self.labels[chosen])

    def between(self, start: int, end: int) -> "Data":
        """Return the rows from `start` to before `end`, as views."""
        return Data(self.rows.between(start, end), self.labels[start:end])

    def split(self, held_out: float = HELD_OUT) -> tuple["Data", "Data"]:
        """Return the older rows and the newest share `held_out`, at least one row.

        Raises:
            ValueError: there are fewer than two rows.
        """
        size = len(self)
        if size < 2:
            raise ValueError(f"at least two rows are needed, one of them to measure on, got {size}")
        kept = size - max(1, round(size * held_out))
        return self.between(0, kept), self.between(kept, size)
