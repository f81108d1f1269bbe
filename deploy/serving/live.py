"""The live experts as a server has them: those of the learner's last commit of which it has heard.

Owns following the learner by blocks (deploy/learning/blocks.py). Does not know requests, or what an expert is.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from deploy.pipeline import Pipeline
from deploy.registry.kinds import BLOCKS, LEARNER, block_name
from deploy.registry.notes import BlocksNote
from learners.commits.state import unpack_state
from learners.online.networks.network import under
from streams.join.store import Store

ANSWER_DIGITS = 6


class Answer(NamedTuple):
    """What is served: the live intercept (K,), how much was learned when it was made, and of N rows what each of the E
    live experts said, NaN for nothing, and the answer of all, (N, E) and (N, K); without live experts nothing.
    """

    learned: int
    intercept: tuple[float, ...]
    experts: list[tuple[float, ...]]
    served: list[tuple[float, ...]]

    def of(self, output: Tensor) -> Tensor:
        """Return what is served (N, K), where the version says `output`."""
        served = torch.tensor(self.served, dtype=torch.float64)
        return served if served.numel() else output + torch.tensor(self.intercept)


class Followed:
    """One feed's live experts and live intercept, as they were learned elsewhere; `columns` numbers a row."""

    def __init__(self, pipeline: Pipeline, store: Store) -> None:
        self._feed, self._store, self._pool = pipeline.name, store, pipeline.experts()
        if self._pool:
            self._pool.follow(self._pool.changes(whole=True))  # so it is compiled before the first request
            self._pool.answer((), np.empty((0, pipeline.task.outputs)))
        self.columns = self._pool.columns if self._pool else 0
        self._at: BlocksNote | None = None
        self.arrived: list[tuple[int, int]] = []  # what was learned since this was emptied: times in ms, and counts
        self.learned, self.intercept = 0, (0.0,) * pipeline.task.outputs

    def refresh(self) -> None:
        """Take what the learner has said since; where nothing is said, go on with what there is."""
        note, newest = self._store.get(self._feed, LEARNER.name, BLOCKS.name)
        block, learner = BLOCKS.read(newest), LEARNER.read(note)
        if self._pool and block:
            if block != self._at and not self._follow(block):
                self._take(self._store.get(self._feed, block_name())[0])  # those after it come with the next look
        elif learner:
            self.learned, self.intercept = learner.learned, learner.intercept

    def answer(self, rows: Sequence[Any], output: Tensor) -> Answer:
        """Answer rows of features, to which the version that serves says `output` (N, K)."""
        if not (self._pool and self._at):
            return Answer(self.learned, self.intercept, [()] * len(rows), [()] * len(rows))
        said, answered = self._pool.answer(rows, output.double().numpy(), self.intercept)
        experts = list(zip(*said.T[2 * output.shape[1] :].tolist(), strict=True))
        served = (answered if self._pool.exact else answered.round(ANSWER_DIGITS)).reshape(output.shape).tolist()
        return Answer(self.learned, self.intercept, experts, list(map(tuple, served)))

    def _follow(self, newest: BlocksNote) -> bool:
        """Take the blocks up to the newest; return False if one is missing, or was another learner's."""
        if self._at is None or newest.run != self._at.run or self._at.number < newest.base:
            return False
        after = range(self._at.number + 1, newest.number + 1)
        blocks = self._store.get(self._feed, *(block_name(n - newest.base) for n in after))
        return all(self._take(block, newest._replace(number=n)) for n, block in zip(after, blocks, strict=True))

    def _take(self, block: bytes | None, expected: BlocksNote | None = None) -> bool:
        """Take a block, whole; return False if it is not there, or not the expected one."""
        changes = unpack_state(block) if block else {}
        at = BlocksNote(*changes["at"].tolist()) if changes else None
        if at is None or self._pool is None or at != (expected or at):
            return False
        self._pool.follow(under(changes, "live"))
        if self._at and self._at.run == at.run and "arrived" in changes:
            self.arrived += [(t_ms, n) for of, t_ms, n in changes["arrived"].tolist() if of > self._at.number]
        self._at, self.learned, self.intercept = at, int(changes["learned"]), tuple(changes["intercept"].tolist())
        return True
