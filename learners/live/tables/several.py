"""The tables of gaussian.py and adaptive.py for K labels, each 0 or 1: K weights a slot, beside each other.

A row is hashed once, and each label learned as its own table would, to the bit. Owns these tables. Does not know what a
feature is.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from learners.live.compiled import Doubles, Floats, compiled
from learners.live.features.hashing import Hashed
from learners.live.tables import adaptive, gaussian
from learners.live.tables.adaptive import UNTOUCHED
from learners.live.tables.arrays import Arrays
from learners.live.tables.gaussian import FORGETTING, SOFTENS
from learners.live.tables.softmax import Columns


@compiled
def adaptive_rows(
    hashed: Hashed, labels: Doubles, weights: Doubles, table: Floats, constant: Doubles, total: Doubles
) -> None:
    """Let the adaptive weights learn labels (N, K) in their order; a weight of 0 skips a row."""
    start = 0
    for row in range(len(labels)):
        end = hashed.ends[row, 2]
        for k in range(labels.shape[1]):
            if weights[row] > 0:
                label = min(max(labels[row, k], 0.0), 1.0)
                adaptive.learn_one(hashed, start, end, label, weights[row], table[:, k], constant[k], total[k])
        start = end


@compiled
def gaussian_rows(
    hashed: Hashed, labels: Doubles, weights: Doubles, mean: Floats, precision: Floats, constant: Doubles
) -> None:
    """Let the Gaussian weights learn labels (N, K) in their order; a weight of 0 skips a row."""
    longest = start = 0
    for row in range(len(labels)):
        longest, start = max(longest, hashed.ends[row, 2] - start), hashed.ends[row, 2]
    known, start, f = np.empty(longest), 0, FORGETTING
    for row in range(len(labels)):
        for k in range(labels.shape[1]):
            if weights[row] > 0:
                label, u = min(max(labels[row, k], 0.0), 1.0), weights[row]
                gaussian.learn_one(
                    hashed, row, start, label, u, f, f, mean, precision, k, constant, k, 0.0, SOFTENS, known
                )
        start = hashed.ends[row, 2]


class SeveralAdaptive(Columns):
    """2^`bits` slots of K weights, learned by adaptive steps: `nag`."""

    def __init__(self, bits: int, labels: int) -> None:
        self._table = np.zeros((1 << bits, labels, 3), np.float32)  # w, G and m
        super().__init__(self._table[..., 0], np.tile(UNTOUCHED, (labels, 1)))
        self._total = np.zeros((labels, 2))  # t and N

    def learn(self, hashed: Hashed, labels: Doubles, weights: Doubles) -> None:
        """Learn rows and their labels (N, K) in their order; a weight of 0 skips a row."""
        adaptive_rows(hashed, labels, weights, self._table, self._constant, self._total)

    def begin(self) -> None:
        """Forget all that was learned."""
        self._table[:] = self._total[:] = 0
        self._constant[:] = UNTOUCHED

    def arrays(self) -> Arrays:
        """Return all that was learned, by label."""
        return by_label({"table": self._table.swapaxes(0, 1), "constant": self._constant, "total": self._total})


class SeveralGaussian(Columns):
    """2^`bits` slots of K Gaussian weights, which forget: `w4`."""

    def __init__(self, bits: int, labels: int) -> None:
        self._weights = np.zeros((1 << bits, labels, 2), np.float32)
        super().__init__(self._weights[..., 0], np.zeros((labels, 2)))  # constants: their means and precisions
        self._precision = self._weights[..., 1]

    def learn(self, hashed: Hashed, labels: Doubles, weights: Doubles) -> None:
        """Learn rows and their labels (N, K) in their order; a weight of 0 skips a row."""
        gaussian_rows(hashed, labels, weights, self.means, self._precision, self._constant)

    def begin(self) -> None:
        """Forget all that was learned."""
        self._weights[:] = self._constant[:] = 0

    def arrays(self) -> Arrays:
        """Return all that was learned, by label."""
        columns = {"mean": self.means.T[..., None], "precision": self._precision.T[..., None]}
        return by_label(columns | {"constant": self._constant[:, None]})


def by_label(arrays: Arrays) -> dict[str, NDArray[Any]]:
    """Return views of arrays (K, …) as `k.name`: a state of each label, as if it had a table of its own."""
    return {f"{k}.{name}": part for name, array in arrays.items() for k, part in enumerate(array)}
