"""Whether the world has changed: whether a table that knows only the newest outcomes has answered better than what was
served.

Learners that remember are better while the world stays, in a storm too, in which all err (Bach & Maloof 2008). Tables
that know less are asked what was asked of those who served:

- *reactive*: it forgets after about a hundred touches. A change that makes all wrong, it sees first;
- *young*: one is begun each EVERY blocks, the newest YOUNGS are kept, and each remembers all since. The one begun after
  a change soon knows the new world as well as it can be known, so it sees changes where those who serve were half wrong
  before, and the next ones.

All have mains alone. None may know more than those who served: a block of outcomes is learned once all of the next were
asked after it came. Of each table Page's sum (1954) of by how much its loss is the lower, d, cut to ± MOST:

    c ← max(0, c + d − margin)     a change once a c > LEVEL

since the prediction after which the reactive table's c was last 0, or, while it is small, the young table begun. On a
year of flights c stays below LEVEL. Owns the tables, the sums, and the newest evidence. Does not know what follows from
a change.
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
BLOCK, KEPT = 25, 40  # outcomes that are asked together; blocks that are kept, at least: a young table's are among them
EVERY, YOUNGS = 10, 3  # blocks from one young table to the next; tables
MARGIN, MARGIN_YOUNG, MOST, LEVEL = 0.3, 0.1, 1.0, 50.0  # nats
SURE = 10.0  # of the reactive table's sum, which then says since when: a young table may be begun before the change
YOUNG, QUIET = 1_000, 300  # outcomes that say nothing, in the beginning and after a change
LOGIT = 9.0
NEVER_MS = -1


class Change:
    """Follows evidence in its order. `count` changes were seen; of the newest, `since_ms` is its time, −1 for none."""

    def __init__(self, features: Any, reader: Reader) -> None:
        self._kind, self._features = features, Features(reader, 0, BITS)
        self._tables = [Gaussian(BITS, FORGETTING), *(Gaussian(BITS) for _ in range(YOUNGS))]  # the reactive one first
        self._born_ms = [NEVER_MS] * YOUNGS  # the newest prediction that a young table does not know
        self._heard = 0  # blocks that were learned, ever
        self._waiting: list[Told] = []
        self._blocks: list[list[Told]] = []  # the first `_learned` of them are learned
        self._learned = 0
        self.begin()

    def begin(self) -> None:
        """Forget changes, and that there may be one; what the table knows stays."""
        self.count, self.since_ms = 0, -1
        self._sums, self._zero_ms, self._quiet, self._until_ms = [0.0] * (1 + YOUNGS), -1, YOUNG, -1

    @property
    def since(self) -> list[Told]:
        """The newest evidence, as far as it is of the world since the newest change."""
        return [told for told in chain.from_iterable(self._blocks) if told.asked.t_ms > self.since_ms]

    def add(self, told: Told) -> bool:
        """Take a piece of evidence; return whether a block is whole, which is then to be judged."""
        self._waiting.append(told)
        return len(self._waiting) == BLOCK

    def judge(self) -> bool:
        """Ask the tables what was served; return whether the world has changed."""
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
        seen = [self._follow(told, of_each) for told, of_each in zip(block, gains.T.tolist(), strict=True)]
        return any(seen)

    def _follow(self, told: Told, gains: Sequence[float]) -> bool:
        """Let the sums follow one sample's gains; return whether they say that the world has changed."""
        self._quiet -= self._quiet > 0
        if self._quiet or told.asked.t_ms <= self._until_ms:  # answered before the last change was seen
            return False
        margins = [MARGIN] + [MARGIN_YOUNG] * YOUNGS
        self._sums = [max(0.0, c + d - margin) for c, d, margin in zip(self._sums, gains, margins, strict=True)]
        if self._sums[0] == 0:
            self._zero_ms = told.asked.t_ms
        if max(self._sums) <= LEVEL:
            return False
        self.count += 1
        best = self._sums.index(max(self._sums))
        self.since_ms = self._zero_ms if best == 0 or self._sums[0] >= SURE else self._born_ms[best - 1]
        self._quiet, self._until_ms = QUIET, _come_ms(self._blocks[-1])
        self._sums, self._zero_ms = [0.0] * (1 + YOUNGS), self._until_ms
        for n in range(YOUNGS):  # they know the change's beginning, too
            self._begin_young(n, NEVER_MS)
        return True

    def _begin_young(self, n: int, born_ms: int) -> None:
        """Let a young table know nothing; one that was not born yet is not asked."""
        self._tables[1 + n].begin()
        self._born_ms[n], self._sums[1 + n] = born_ms, 0.0

    def _gains(self, block: Sequence[Told]) -> Doubles:
        """Return by how much each table's loss is lower than that of what was served, (tables, N), in nats.

        It is 0 where nothing was served, and of a table that is not born yet.
        """
        labels, ours = np.array([told.label for told in block]), np.zeros((len(self._tables), len(block)))
        for part, hashed in self._features.hashed(_rows(block)):
            for table, answers in zip(self._tables, ours, strict=True):
                answers[part] = table.answer(hashed)
        served = np.array([told.asked.answer for told in block])
        gains: Doubles = (_losses(np.nan_to_num(served), labels) - _losses(ours, labels)).clip(-MOST, MOST)
        born = np.array([True, *(ms != NEVER_MS for ms in self._born_ms)])
        return np.where(np.isfinite(served) & np.isfinite(labels) & born[:, None], gains, 0.0)

    def _learn(self, block: Sequence[Told]) -> None:
        if self._heard % EVERY == 0:
            before = self._blocks[self._learned - 1] if self._learned else ()
            newest = max((told.asked.t_ms for told in before), default=min(told.asked.t_ms for told in block) - 1)
            self._begin_young(self._heard // EVERY % YOUNGS, newest)
        self._heard += 1
        labels = np.array([told.label for told in block])
        use = usable(np.array([told.weight for told in block]), labels)
        for part, hashed in self._features.hashed(_rows(block), use > 0):
            for table in self._tables:
                table.learn(hashed, labels[part], use[part])

    def state(self) -> dict[str, Tensor]:
        """Return copies of all that changes."""
        own = [self.count, self.since_ms, self._sums[0], self._zero_ms, self._quiet, self._until_ms]
        young = [self._heard, self._born_ms, self._sums[1:]]
        packed = msgspec.msgpack.encode([own, self._learned, self._blocks, self._waiting, young])
        return state_of(self._arrays()) | {"evidence": torch.frombuffer(bytearray(packed), dtype=torch.uint8)}

    def load(self, state: Mapping[str, Tensor]) -> None:
        """Go on from a state; in one of an older release there was no young table."""
        mine = self._arrays()
        restore({name: of for name, of in mine.items() if name in state or not name.startswith("young.")}, state)
        own, self._learned, blocks, waiting, *young = msgspec.msgpack.decode(state["evidence"].numpy().tobytes())
        self.count, self.since_ms, sum_, self._zero_ms, self._quiet, self._until_ms = own
        self._heard, self._born_ms, sums = young[0] if young else (0, [NEVER_MS] * YOUNGS, [0.0] * YOUNGS)
        self._sums = [sum_, *sums]
        blocks, waiting = msgspec.convert([blocks, waiting], tuple[list[list[Told]], list[Told]])
        self._blocks = [[with_row(told, self._kind) for told in block] for block in blocks]
        self._waiting = [with_row(told, self._kind) for told in waiting]

    def _arrays(self) -> Arrays:
        names = ["table", *(f"young.{n}" for n in range(YOUNGS))]
        tables = {name: table.arrays() for name, table in zip(names, self._tables, strict=True)}
        return joined({"features": self._features.arrays()} | tables)


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
