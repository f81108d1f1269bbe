"""The arrays of an expert: read as tensors and restored, bit for bit; and weights that it can compute with.

Owns these. Does not know what an array holds.
"""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from learners.live.compiled import Doubles, UInts
from streams.errors import ConfigError

Arrays = Mapping[str, NDArray[Any]]
MOST_WEIGHT = 1e6
TABLE = 1 << 12  # rows of an array, from which on most of them are zero


def joined(parts: Mapping[str, Arrays]) -> dict[str, NDArray[Any]]:
    """Return the arrays of all parts as `part.name`."""
    return {f"{part}.{name}": array for part, arrays in parts.items() for name, array in arrays.items()}


def state_of(arrays: Arrays) -> dict[str, Tensor]:
    """Return copies of the arrays as tensors; of a table its rows that are not zero, and their numbers as `.rows`."""
    found = dict[str, Tensor]()
    for name, array in arrays.items():
        if len(array) < TABLE:
            found[name] = torch.from_numpy(array.copy())
            continue
        rows = _used(array)
        found[f"{name}.rows"] = torch.from_numpy(np.append(rows, len(array)))  # and how many there are in all
        found[name] = torch.from_numpy(array[rows])
    return found


def _used(table: NDArray[Any]) -> NDArray[np.int64]:
    """Return the rows (n,) of a table that are not all zero; `any` along short rows takes ten times as long."""
    at = np.flatnonzero(table.reshape(-1) != 0) // max(1, math.prod(table.shape[1:]))
    return at[np.flatnonzero(np.diff(at, prepend=-1))]


def restore(arrays: Arrays, state: Mapping[str, Tensor]) -> None:
    """Let the arrays hold what `state_of` returned.

    Raises:
        ConfigError: an array is missing there, or has another shape or type; then nothing has changed.
    """
    for name, array in arrays.items():
        shape, saved = _shape(name, state), state.get(name)
        if saved is None or shape != array.shape or saved.numpy().dtype != array.dtype:
            found = "nothing" if saved is None else f"{saved.dtype} {shape}"
            raise ConfigError(
                f"the state was made by another expert than this one: it has {found} where this one has {name}, "
                f"{array.dtype} {array.shape}; put the old settings of Live back, or begin a new feed"
            )
    for name, array in arrays.items():
        rows = state.get(f"{name}.rows")
        if rows is None:
            array[...] = state[name].numpy()
        else:
            array[...] = 0
            array[rows[:-1].numpy()] = state[name].numpy()


def _shape(name: str, state: Mapping[str, Tensor]) -> tuple[int, ...]:
    """Return the shape of the whole array."""
    if name not in state:
        return ()
    rows = state.get(f"{name}.rows")
    whole = tuple(state[name].shape)
    return whole if rows is None else (int(rows[-1]), *whole[1:])


class Touched:
    """The slots of a table that changed since they were last asked for."""

    def __init__(self, slots: int) -> None:
        self.slots, self._touched = slots, np.zeros(slots, np.bool_)

    def add(self, slots: UInts) -> None:
        """Note slots that were learned."""
        self._touched[slots] = True

    def add_all(self, table: NDArray[Any]) -> None:
        """Note all rows of a table that are not zero."""
        self._touched[_used(table)] = True

    def take(self, table: NDArray[Any], *, whole: bool) -> Tensor:
        """Return the slots (n,), or all of the table (slots, …) that are not zero."""
        changed = _used(table) if whole else np.flatnonzero(self._touched)
        found = torch.from_numpy(changed.astype(np.int32))
        self._touched[:] = False
        return found


def usable(weights: Doubles, labels: Doubles) -> Doubles:
    """Return the weights (N,): 0 where one is not finite or below 0, or its label is not finite; none too large.

    A label may be several numbers, (N, K), all of which must be finite.

    >>> usable(np.array([0.5, -1.0, np.nan, 1e300, 1.0]), np.array([1.0, 1.0, 1.0, 1.0, np.nan])).tolist()
    [0.5, 0.0, 0.0, 1000000.0, 0.0]
    """
    finite = np.isfinite(labels)
    known = np.isfinite(weights) & (weights > 0) & (finite if finite.ndim == 1 else finite.all(axis=1))
    found: Doubles = np.where(known, np.minimum(weights, MOST_WEIGHT), 0.0)
    return found
