"""Whether the world has changed: whether a table that forgets fast has lately answered better than what was served.

A pair of a stable and a reactive learner (Bach & Maloof 2008): while the world stays, the one that remembers is better,
in a storm too, in which both err. The reactive table has mains alone, and forgets after about a hundred touches. It is
asked what was asked of those who served, and must know no more than they did: it learns a block of outcomes once all of
the next were asked after it came. Page's sum (1954) of by how much its loss is the lower, d, cut to ± MOST:

    c ← max(0, c + d − MARGIN)     a change once c > LEVEL, since the prediction after which c was last 0

On a year of flights c stays below LEVEL. Owns the table, the sum, and the newest evidence. Does not know what follows
from a change.
"""

from collections.abc import Mapping, Sequence
from itertools import chain
from typing import Any

import msgspec
import numpy as np
import torch
from torch import Tensor

from learners.live.compiled import Doubles
from learners.live.features.features import Features
from learners.live.features.reader import Reader
from learners.live.held import Told, with_row
from learners.live.tables.arrays import Arrays, joined, restore, state_of, usable
from learners.live.tables.gaussian import Gaussian

BITS, FORGETTING = 14, 1e-2
BLOCK, KEPT = 25, 20  # outcomes that are asked together; blocks that are kept, at least
MARGIN, MOST, LEVEL = 0.3, 1.0, 50.0  # nats
YOUNG, QUIET = 1_000, 300  # outcomes that say nothing, in the beginning and after a change
LOGIT = 9.0


class Change:
    """Follows evidence in its order. `count` changes were seen; of the newest, `since_ms` is its time, −1 for none."""

    def __init__(self, features: Any, reader: Reader) -> None:
        self._kind, self._features = features, Features(reader, 0, BITS)
        self._table = Gaussian(BITS, FORGETTING)
        self._waiting: list[Told] = []
        self._blocks: list[list[Told]] = []  # the first `_learned` of them are learned
        self._learned = 0
        self.begin()

    def begin(self) -> None:
        """Forget changes, and that there may be one; what the table knows stays."""
        self.count, self.since_ms = 0, -1
        self._sum, self._zero_ms, self._quiet, self._until_ms = 0.0, -1, YOUNG, -1

    def clear(self) -> None:
        """Forget the newest evidence, as of another feed's times; what the table knows stays."""
        self._waiting, self._blocks, self._learned = [], [], 0

    @property
    def since(self) -> list[Told]:
        """The newest evidence, as far as it is of the world since the newest change."""
        return [told for told in chain.from_iterable(self._blocks) if told.asked.t_ms > self.since_ms]

    def add(self, told: Told) -> bool:
        """Take a piece of evidence; return whether a block is whole, which is then to be judged."""
        self._waiting.append(told)
        return len(self._waiting) == BLOCK

    def judge(self) -> bool:
        """Ask the table what was served; return whether the world has changed."""
        block, self._waiting = self._waiting, []
        first_ms = min(told.asked.t_ms for told in block)
        while self._learned < len(self._blocks) and _come_ms(self._blocks[self._learned]) <= first_ms:
            self._learn(self._blocks[self._learned])
            self._learned += 1
        gains = self._gains(block)
        self._blocks.append(block)
        drop = max(0, min(self._learned, len(self._blocks) - KEPT))
        del self._blocks[:drop]
        self._learned -= drop
        seen = [self._follow(told, gain) for told, gain in zip(block, gains.tolist(), strict=True)]
        return any(seen)

    def _follow(self, told: Told, gain: float) -> bool:
        """Let the sum follow one gain; return whether it says that the world has changed."""
        self._quiet -= self._quiet > 0
        if self._quiet or told.asked.t_ms <= self._until_ms:  # answered before the last change was seen
            return False
        self._sum = max(0.0, self._sum + gain - MARGIN)
        if self._sum == 0:
            self._zero_ms = told.asked.t_ms
        if self._sum <= LEVEL:
            return False
        self.count, self.since_ms = self.count + 1, self._zero_ms
        self._sum, self._quiet, self._until_ms = 0.0, QUIET, _come_ms(self._blocks[-1])
        self._zero_ms = self._until_ms
        return True

    def _gains(self, block: Sequence[Told]) -> Doubles:
        """Return by how much the table's loss is lower than that of what was served, in nats; 0 where nothing was."""
        labels, ours = np.array([told.label for told in block]), np.zeros(len(block))
        for part, hashed in self._features.hashed(_rows(block)):
            ours[part] = self._table.answer(hashed)
        served = np.array([told.asked.answer for told in block])
        gains: Doubles = (_losses(np.nan_to_num(served), labels) - _losses(ours, labels)).clip(-MOST, MOST)
        return np.where(np.isfinite(served) & np.isfinite(labels), gains, 0.0)

    def _learn(self, block: Sequence[Told]) -> None:
        labels = np.array([told.label for told in block])
        use = usable(np.array([told.weight for told in block]), labels)
        for part, hashed in self._features.hashed(_rows(block), use > 0):
            self._table.learn(hashed, labels[part], use[part])

    def state(self) -> dict[str, Tensor]:
        """Return copies of all that changes."""
        own = [self.count, self.since_ms, self._sum, self._zero_ms, self._quiet, self._until_ms]
        packed = msgspec.msgpack.encode([own, self._learned, self._blocks, self._waiting])
        return state_of(self._arrays()) | {"evidence": torch.frombuffer(bytearray(packed), dtype=torch.uint8)}

    def load(self, state: Mapping[str, Tensor]) -> None:
        """Go on from a state."""
        restore(self._arrays(), state)
        of = tuple[tuple[int, int, float, int, int, int], int, list[list[Told]], list[Told]]
        own, self._learned, blocks, waiting = msgspec.msgpack.decode(state["evidence"].numpy().tobytes(), type=of)
        self.count, self.since_ms, self._sum, self._zero_ms, self._quiet, self._until_ms = own
        self._blocks = [[with_row(told, self._kind) for told in block] for block in blocks]
        self._waiting = [with_row(told, self._kind) for told in waiting]

    def _arrays(self) -> Arrays:
        return joined({"features": self._features.arrays(), "table": self._table.arrays()})


def _rows(block: Sequence[Told]) -> tuple[Any, ...]:
    return tuple(told.asked.row for told in block)


def _come_ms(block: Sequence[Told]) -> int:
    """Return when the last outcome of a block had come."""
    return max(told.at_ms for told in block)


def _losses(logits: Doubles, labels: Doubles) -> Doubles:
    """Return the log losses (N,)."""
    z = logits.clip(-LOGIT, LOGIT)
    losses: Doubles = np.logaddexp(0, z) - labels.clip(0, 1) * z
    return losses
