"""Guard rails by outcomes: how calibrated a candidate is, and where it is worse than the champion.

Owns the sums over the predictions of a test, in their order, once their labels are settled. Does not know other
champions than the one now: with a new one the sums begin anew.
"""

import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch
from msgspec import Struct
from msgspec.structs import replace
from numpy.typing import NDArray
from torch import Tensor

from learners.evaluation.guards.guard import GuardRails, at_most
from learners.evaluation.slices import OTHERS
from learners.evaluation.trials.interval import Sums
from learners.evaluation.trials.wealth import Floats
from learners.evaluation.verdict import Guard
from learners.resumed import Resumed
from learners.tasks.binary import Binary
from learners.tasks.task import Task

LEAST, MOST = 200, 1_000  # samples of a slice that is judged; values of a field that are kept apart
SURE = 4.0  # standard errors: what is off by less may be chance


class Part(NamedTuple):
    """Of a slice: the gains loss(champion) − loss(candidate), and the sum of the champion's losses."""

    gains: Sums = Sums()
    loss: float = 0.0

    def plus(self, gains: Floats, losses: Floats) -> "Part":
        """Return it with some more samples."""
        more = Sums(len(gains), float(gains.sum()), float((gains**2).sum()))
        return Part(self.gains.plus(more), self.loss + float(losses.sum()))


class OutcomesState(Struct):
    """The sums."""

    against: str
    _all: Part
    _parts: list[dict[str, Part]]
    _yes: float
    _p: NDArray[np.float64]
    _noise: float


class Outcomes(Resumed):
    """Takes predictions with their labels; `fields` are the names of the slices' fields."""

    State = OutcomesState

    def __init__(self, task: Task, fields: Sequence[str]) -> None:
        self._task, self._fields = task, fields
        self.against = ""
        self._begin()

    def _begin(self) -> None:
        self._all, self._parts = Part(), [dict[str, Part]() for _ in self._fields]
        self._yes, self._p, self._noise = 0.0, np.zeros(2), 0.0

    def take(self, against: str, ours: Tensor, theirs: Tensor, target: Tensor, values: Sequence[Sequence[str]]) -> None:
        """Take N answers (N, K) of the candidate and of the champion `against`, with labels and slices' values."""
        if against != self.against:
            self.against = against
            self._begin()
        if not len(target):
            return
        own, losses = (self._task.losses(one, target).double().numpy() for one in (ours, theirs))
        gains = losses - own
        self._all = self._all.plus(gains, losses)
        for n, parts in enumerate(self._parts):
            here = np.array([of[n] for of in values])
            for value in np.unique(here).tolist():
                key = value if value in parts or len(parts) < MOST else OTHERS
                at = here == value
                parts[key] = parts.get(key, Part()).plus(gains[at], losses[at])
        if isinstance(self._task, Binary):
            p = torch.sigmoid(torch.stack([ours, theirs])[:, :, 0].double())
            self._p, self._yes = self._p + p.sum(dim=1).numpy(), self._yes + float(target.sum())
            self._noise += float((p[0] * (1 - p[0])).sum())

    def guards(self, rails: GuardRails) -> Iterator[Guard]:
        """Yield what is found so far."""
        if self._yes > 0:
            yield self._calibration(rails.calibration)
        if worst := self._worst(rails.slice):
            yield worst

    def _calibration(self, limit: float | None) -> Guard:
        ratio, usual = (self._p / self._yes).tolist()
        worse, chance = abs(ratio - 1) - abs(usual - 1), SURE * math.sqrt(self._noise) / self._yes
        found = at_most("calibration", worse, limit, f"mean p is {ratio:.3f} of mean y, the champion's {usual:.3f}")
        return replace(found, passed=found.passed or worse - chance <= (limit or 0))

    def _worst(self, limit: float | None) -> Guard | None:
        """Return the slice in which the candidate is surely worse by the largest share of the champion's loss."""
        found = [
            (max(0.0, -of.gains.interval[1]) / self._scale(of), field, value, of)
            for field, parts in zip(self._fields, self._parts, strict=True)
            for value, of in parts.items()
            if value != OTHERS and of.gains.samples >= LEAST and of.gains.interval
        ]
        if not found:
            return None
        share, field, value, of = max(found, key=lambda one: one[0])
        said = (
            f"worst slice {field} {value}: loss {-of.gains.mean:+.4f} to the champion's over {of.gains.samples:,} "
            f"samples, surely {100 * share:.1f} % worse"
        )
        return at_most("slice", share, limit, said, unit=100)

    def _scale(self, of: Part) -> float:
        """Return the champion's mean loss in a slice; in one where it is next to nothing, a tenth of all samples'."""
        mean = self._all.loss / self._all.gains.samples
        return max(of.loss / of.gains.samples, mean / 10, 1e-12)
