"""From samples to tensors: decode the raw features once, encode them by the user's function.

Owns nothing but the two functions. Does not know models or losses.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from streams.events import Json, Sample

Inputs = tuple[Tensor, ...]


class Encoder:
    """Decodes feature JSON into the pipeline's type and encodes rows into the model's inputs, first dimension N."""

    def __init__(self, features: type, encode: Callable[[Sequence[Any]], Inputs]) -> None:
        self.decode: Json[Any] = Json(features)
        self.encode = encode

    def inputs(self, samples: Sequence[Sample]) -> Inputs:
        """Encode the samples' features."""
        return self.encode([self.decode(bytes(s.prediction.features)) for s in samples])


def labels(samples: Sequence[Sample]) -> Tensor:
    """Give the labels, shape (N,)."""
    return torch.tensor([s.label for s in samples], dtype=torch.float32)


def served(samples: Sequence[Sample]) -> Tensor:
    """Give what was answered, output plus intercept, shape (N, K)."""
    return torch.tensor([s.prediction.served for s in samples], dtype=torch.float32)


def intercepts(samples: Sequence[Sample]) -> Tensor:
    """Return the live intercepts that the answers were given under, shape (N, K)."""
    return torch.tensor([s.prediction.intercept for s in samples], dtype=torch.float32)


def join(parts: Sequence[Inputs]) -> Inputs:
    """Put batches of inputs one after the other."""
    return tuple(torch.cat(columns) for columns in zip(*parts, strict=True))
