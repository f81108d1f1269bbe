"""An expert on K actions for a task whose model estimates rewards, too: it says what it expects as log odds and chance.

Owns the second half of its columns. Does not know how the expert learns.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from torch import Tensor

from learners.live.compiled import Doubles
from learners.live.expert import Pooled


class Estimated:
    """An expert of one name, whose K columns are 2 K: z, then σ(z)."""

    def __init__(self, expert: Pooled) -> None:
        self.names, self._expert = expert.names, expert

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

    def state(self) -> dict[str, Tensor]:
        """Return copies of all that changes."""
        return self._expert.state()

    def load(self, state: Mapping[str, Tensor]) -> None:
        """Go on from a state."""
        self._expert.load(state)

    def changes(self, *, whole: bool) -> dict[str, Tensor]:
        """Return all that answering needs and that changed since the last call, or all of it."""
        return self._expert.changes(whole=whole)

    def follow(self, changes: Mapping[str, Tensor]) -> None:
        """Answer from now on as the one that changed."""
        self._expert.follow(changes)
