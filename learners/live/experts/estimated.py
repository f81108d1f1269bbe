"""An expert on K actions for a task whose model estimates rewards, too: it says what it expects as log odds and chance.

Owns the second half of its columns. Does not know how the expert learns.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from learners.live.compiled import Doubles
from learners.live.experts.around import Around
from learners.live.experts.expert import Pooled


class Estimated(Around[Pooled]):
    """An expert of one name, whose K columns are 2 K: z, then σ(z)."""

    def __init__(self, expert: Pooled) -> None:
        super().__init__(expert)

    def answer(self, rows: Sequence[Any]) -> Doubles:
        """Return z and σ(z), (N, 2 K)."""
        z = self._expert.answer(rows)
        return np.concatenate([z, 1 / (1 + np.exp(-z))], axis=1)

    def learn(self, rows: Sequence[Any], labels: Doubles, weights: Doubles) -> None:
        """Learn outcomes in their order."""
        self._expert.learn(rows, labels, weights)

    def renew(self, rows: Sequence[Any], labels: Doubles, weights: Doubles) -> None:
        """Begin anew in a changed world, of which these outcomes are known."""
        self._expert.renew(rows, labels, weights)
