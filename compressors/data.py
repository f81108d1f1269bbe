"""The rows that a step learns or measures on, and what compression needs of a task.

Knows no model, no recipe and no task.
"""

from typing import NamedTuple, Protocol

from torch import Tensor

HELD_OUT = 0.05  # the newest share of the rows: parity and losses are measured on it, no step learns from it


class Losses(Protocol):
    """What compression needs of a task: its losses. Shapes: outputs (N, K), labels and losses (N,)."""

    def losses(self, output: Tensor, label: Tensor) -> Tensor:
        """Return the loss of each row."""
        ...

    def soft_losses(self, teacher: Tensor, student: Tensor, temperature: float) -> Tensor:
        """Return each row's loss towards the teacher's outputs softened by `temperature` T, without the factor T²."""
        ...


class Data(NamedTuple):
    """Rows to learn or measure on, oldest first: the model's inputs, each tensor (N, ...), and the labels (N,).

    >>> import torch
    >>> data = Data((torch.zeros(100, 3),), torch.zeros(100))
    >>> learn, measure = data.split()
    >>> len(learn.labels), len(measure.labels)
    (95, 5)
    """

    inputs: tuple[Tensor, ...]
    labels: Tensor

    def at(self, rows: Tensor) -> "Data":
        """Return copies of some of the rows, by their indices (n,) or a mask (N,)."""
        return Data(tuple(t[rows] for t in self.inputs), self.labels[rows])

    def between(self, start: int, end: int) -> "Data":
        """Return the rows from `start` to before `end`, as views."""
        return Data(tuple(t[start:end] for t in self.inputs), self.labels[start:end])

    def split(self, held_out: float = HELD_OUT) -> tuple["Data", "Data"]:
        """Return the older rows and the newest share `held_out`, at least one row.

        Raises:
            ValueError: there are fewer than two rows.
        """
        size = len(self.labels)
        if size < 2:
            raise ValueError(f"at least two rows are needed, one of them to measure on, got {size}")
        kept = size - max(1, round(size * held_out))
        return self.between(0, kept), self.between(kept, size)
