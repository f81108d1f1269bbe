"""The arrays of an expert: read as tensors and restored, bit for bit; and weights that it can compute with.

Owns these. Does not know what an array holds.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from learners.live.compiled import Doubles, compiled
from streams.errors import ConfigError

Arrays = Mapping[str, NDArray[Any]]
MOST_WEIGHT = 1e6


def joined(parts: Mapping[str, Arrays]) -> dict[str, NDArray[Any]]:
    """Return the arrays of all parts as `part.name`."""
    return {f"{part}.{name}": array for part, arrays in parts.items() for name, array in arrays.items()}


def state_of(arrays: Arrays) -> dict[str, Tensor]:
    """Return copies of the arrays as tensors."""
    return {name: torch.from_numpy(array.copy()) for name, array in arrays.items()}


def restore(arrays: Arrays, state: Mapping[str, Tensor]) -> None:
    """Let the arrays hold what `state_of` returned.

    Raises:
        ConfigError: an array is missing there, or has another shape or type; then nothing has changed.
    """
    for name, array in arrays.items():
        saved = state.get(name)
        if saved is None or saved.shape != array.shape or saved.numpy().dtype != array.dtype:
            found = "nothing" if saved is None else f"{saved.dtype} {tuple(saved.shape)}"
            raise ConfigError(
                f"the state was made by another expert than this one: it has {found} where this one has {name}, "
                f"{array.dtype} {array.shape}; put the old settings of Wide back, or begin a new feed"
            )
    for name, array in arrays.items():
        array[...] = state[name].numpy()


@compiled
def usable(weights: Doubles, labels: Doubles) -> Doubles:
    """Return the weights: 0 where one is not finite or below 0, or its label is not finite; none too large.

    >>> usable(np.array([0.5, -1.0, np.nan, 1e300, 1.0]), np.array([1.0, 1.0, 1.0, 1.0, np.nan])).tolist()
    [0.5, 0.0, 0.0, 1000000.0, 0.0]
    """
    found = np.zeros(len(weights))
    for i in range(len(weights)):
        if np.isfinite(weights[i]) and weights[i] > 0 and np.isfinite(labels[i]):
            found[i] = min(weights[i], MOST_WEIGHT)
    return found
