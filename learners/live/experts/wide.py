"""The wide part: tables over all fields of a pipeline's features, which learn each outcome at once."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from learners.live.compiled import Doubles, Floats
from learners.live.features.features import Features
from learners.live.tables.adaptive import Adaptive
from learners.live.tables.arrays import Arrays, Touched, joined, restore, state_of, usable
from learners.live.tables.gaussian import Gaussian
from learners.live.tables.number import Number
from learners.live.tables.rewards import Rewards
from learners.live.tables.several import SeveralAdaptive, SeveralGaussian
from learners.live.tables.softmax import SoftmaxAdaptive, SoftmaxGaussian

Table = Adaptive | Gaussian | SoftmaxAdaptive | SoftmaxGaussian | SeveralAdaptive | SeveralGaussian | Number | Rewards


class Linear:
    """Tables over one set of features; `outputs` columns of answers for each.

    One that follows another keeps only its means, all columns' of a slot beside each other.
    """

    def __init__(self, features: Features, tables: Mapping[str, Table], bits: int, outputs: int = 1) -> None:
        self.names = tuple(tables)
        self._features, self._tables, self._outputs = features, tables, outputs
        self._touched = Touched(1 << bits)
        self._means: Floats | None = None  # (slots, tables · outputs)

    def answer(self, rows: Sequence[Any]) -> Doubles:
        """Return the logits (N, tables · outputs) of rows."""
        found = np.empty((len(rows), len(self._tables), self._outputs))
        if self._means is not None:
            sums = self._features.sums(rows, self._means).reshape(found.shape)
            for k, table in enumerate(self._tables.values()):
                found[:, k] = table.of(sums[:, k])
            return found.reshape(len(rows), len(self._tables) * self._outputs)
        for part, hashed in self._features.hashed(rows):
            for k, table in enumerate(self._tables.values()):
                found[part, k] = table.answer(hashed).reshape(-1, self._outputs)
        return found.reshape(len(rows), len(self._tables) * self._outputs)

    def learn(self, rows: Sequence[Any], labels: Doubles, weights: Doubles) -> None:
        """Learn rows in their order; a label or weight that is not finite, or no weight, moves no table."""
        use = usable(weights, labels)
        for part, hashed in self._features.hashed(rows, use > 0):
            self._touched.add(hashed.used)
            for table in self._tables.values():
                table.learn(hashed, labels[part], use[part])
                if isinstance(table, Number):
                    self._touched.add(table.given_up)

    def renew(self, rows: Sequence[Any], labels: Doubles, weights: Doubles) -> None:
        """Forget all but the numbers' spread, and learn these rows of a changed world."""
        for table in self._tables.values():
            self._touched.add_all(table.means)
            table.begin()
        self.learn(rows, labels, weights)

    def state(self) -> dict[str, Tensor]:
        """Return all that was learned."""
        return state_of(self._arrays())

    def load(self, state: Mapping[str, Tensor]) -> None:
        """Go on from `state`."""
        restore(self._arrays(), state)

    def changes(self, *, whole: bool) -> dict[str, Tensor]:
        """Return the means of slots that changed, the constants, and what is known of numbers."""
        tables = self._tables.values()
        known = np.stack([table.means for table in tables], axis=1) if whole else np.empty(0)
        slots = self._touched.take(known, whole=whole)
        means = [torch.from_numpy(table.means[slots.numpy()]) for table in tables]
        constants = torch.from_numpy(np.stack([table.constants for table in tables]))
        own = {"whole": torch.tensor(whole), "slots": slots, "means": torch.stack(means, dim=1), "constants": constants}
        return own | self._features.changes()

    def follow(self, changes: Mapping[str, Tensor]) -> None:
        """Answer from now on as the one that changed."""
        width = len(self._tables) * self._outputs
        if self._means is None or changes["whole"]:
            self._means = np.zeros((self._touched.slots, width), np.float32)
        self._means[changes["slots"].numpy()] = changes["means"].numpy().reshape(-1, width)
        constants = changes["constants"].numpy().reshape(len(self._tables), -1)
        for table, of in zip(self._tables.values(), constants, strict=True):
            table.constants[:] = of
        self._features.follow(changes)

    def _arrays(self) -> Arrays:
        tables = {name: table.arrays() for name, table in self._tables.items()}
        return joined({"features": self._features.arrays()} | tables)
