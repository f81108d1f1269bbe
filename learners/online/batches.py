"""From samples to tensors: the raw features are decoded once and encoded by the user's function; the newest are kept.

Does not know models or losses.
"""

from collections import deque
from collections.abc import Callable, Iterable, Sequence, Sized
from typing import Any, Generic, TypeVar

import torch
from torch import Tensor

from streams.events import Json, Sample

Inputs = tuple[Tensor, ...]  # a model's positional arguments, the first dimension of each N
Rows = TypeVar("Rows", bound=Sized)


class Encoder:
    """Decodes the features' JSON into the pipeline's type, and encodes N of these into the model's inputs."""

    def __init__(self, features: type, encode: Callable[[Sequence[Any]], Inputs]) -> None:
        self.decode: Json[Any] = Json(features)
        self.encode = encode

    def inputs(self, samples: Sequence[Sample]) -> Inputs:
        """Encode the samples' features."""
        return self.encode([self.decode(bytes(s.prediction.features)) for s in samples])


class Newest(Generic[Rows]):
    """The newest rows: the fewest whole batches that hold `most` of them, or all.

    `inputs` and `rows` have an item for each batch: the model's inputs, and what belongs to these rows, one item each.
    """

    def __init__(self, most: int) -> None:
        self._most, self._count = most, 0
        self.inputs: deque[Inputs] = deque()
        self.rows: deque[Rows] = deque()

    def add(self, inputs: Inputs, rows: Rows) -> None:
        """Add a batch, and drop the oldest ones that are not needed any more."""
        self.inputs.append(inputs)
        self.rows.append(rows)
        self._count += len(rows)
        while self._count - len(self.rows[0]) >= self._most:
            self.inputs.popleft()
            self._count -= len(self.rows.popleft())


def labels(samples: Sequence[Sample]) -> Tensor:
    """Return the labels, shape (N,)."""
    return torch.tensor([s.label for s in samples], dtype=torch.float32)


def served(samples: Sequence[Sample]) -> Tensor:
    """Return what was answered, output plus intercept, shape (N, K)."""
    return torch.tensor([s.prediction.served for s in samples], dtype=torch.float32)


def intercepts(samples: Sequence[Sample]) -> Tensor:
    """Return the live intercept that each answer contains, shape (N, K)."""
    return torch.tensor([s.prediction.intercept for s in samples], dtype=torch.float32)


def join(batches: Iterable[Inputs]) -> Inputs:
    """Return one batch of all rows, in their order."""
    return tuple(torch.cat(columns) for columns in zip(*batches, strict=True))
