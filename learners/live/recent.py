"""How wrong an expert was lately, in all and by each category: what a whole hour, or one airport, errs together.

Of the outcomes y that came to chances p, all of them and those of each category by itself, the newer the more:

    G ← γ G + y − p     H ← γ H + p (1 − p)     hint = G / (H + 1)

one Newton step for an error of the logit, which is a normal number of variance 1 before anything is known. Hints are no
answers: the mixture learns what each is worth, from nothing on. Owns the sums. Does not know whose chances they are.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from learners.live.compiled import Doubles, UInts, compiled
from learners.live.features.hashing import slot
from learners.live.features.reader import Reader
from learners.live.tables.arrays import Touched, restore, state_of

GAMMA = 1 - 1 / 30  # of each outcome: the last thirty count
FIELDS = 8  # categories that have a hint, the first of the features
BITS = 12
ALL = 1 << BITS  # the slot of all outcomes, after those of categories


class Recent:
    """The hints of rows: in all, and of each of the first categories."""

    def __init__(self, reader: Reader) -> None:
        self._reader, self._fields = reader, reader.fields.categories[:FIELDS]
        self.names = ("recent", *(f"recent {name}" for name in self._fields))
        self._sums, self._touched = np.zeros((ALL + 1, 2)), Touched(ALL + 1)

    def answer(self, rows: Sequence[Any]) -> Doubles:
        """Return the hints (N, names) of rows."""
        return _hints(self._slots(rows), self._sums)

    def learn(self, rows: Sequence[Any], labels: Doubles, logits: Doubles) -> None:
        """Learn outcomes in their order; `logits` (N,) are what the expert had said, NaN for nothing."""
        slots = self._slots(rows)
        self._touched.add(slots)
        _follow(slots, labels, logits, self._sums)

    def changes(self, *, whole: bool) -> dict[str, Tensor]:
        """Return the sums that changed since the last call, or all that are not zero."""
        slots = self._touched.take(self._sums, whole=whole)
        return {"whole": torch.tensor(whole), "slots": slots, "sums": torch.from_numpy(self._sums[slots.numpy()])}

    def follow(self, changes: Mapping[str, Tensor]) -> None:
        """Have the sums of the one that changed."""
        if changes["whole"]:
            self._sums[:] = 0
        self._sums[changes["slots"].numpy()] = changes["sums"].numpy()

    def state(self) -> dict[str, Tensor]:
        """Return all that was learned."""
        return state_of({"sums": self._sums})

    def load(self, state: Mapping[str, Tensor]) -> None:
        """Go on from `state`."""
        restore({"sums": self._sums}, state)

    def _slots(self, rows: Sequence[Any]) -> UInts:
        return _slots(self._reader.read(rows).tokens, len(self._fields))


@compiled
def _slots(tokens: UInts, fields: int) -> UInts:
    """Return the slots (N, 1 + fields) of all and of each token; a text, whose token is 0, is in no category."""
    found = np.full((len(tokens), 1 + fields), ALL, np.uint32)
    for i in range(len(tokens)):
        for j in range(fields):
            if tokens[i, j]:
                found[i, j + 1] = slot(tokens[i, j], np.uint32(32 - BITS))
    return found


@compiled
def _hints(slots: UInts, sums: Doubles) -> Doubles:
    """Return the Newton steps (N, names) of slots."""
    found = np.empty(slots.shape)
    for i in range(slots.shape[0]):
        for j in range(slots.shape[1]):
            found[i, j] = sums[slots[i, j], 0] / (sums[slots[i, j], 1] + 1)
    return found


@compiled
def _follow(slots: UInts, labels: Doubles, logits: Doubles, sums: Doubles) -> None:
    """Let the sums, in place, follow N outcomes; none that is not finite."""
    for i in range(len(labels)):
        if not (np.isfinite(labels[i]) and np.isfinite(logits[i])):
            continue
        p = 1 / (1 + np.exp(-min(max(logits[i], -9.0), 9.0)))
        y = min(max(labels[i], 0.0), 1.0)
        for j in range(slots.shape[1]):
            at = slots[i, j]
            if j == 0 or at != ALL:
                sums[at, 0] = GAMMA * sums[at, 0] + y - p
                sums[at, 1] = GAMMA * sums[at, 1] + p * (1 - p)
