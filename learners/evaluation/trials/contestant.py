"""A model that answers beside what serves, under a live intercept of its own.

Owns the intercept's path: what was answered after the learner had learned n samples is answered with the intercept of
then. Does not know labels' order, or which models it is compared with.
"""

from array import array
from collections.abc import Sequence

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from compressors.answers import Run
from compressors.scale import Scale
from learners.evaluation.trials.wealth import Floats
from learners.online.intercept import Intercept
from learners.packing import scale_of, scaled
from learners.tasks.task import Task
from streams.events import Target


class ContestantState(Struct):
    """A contestant's intercept and its path. `first`: its model is version 0's, as that was when the feed began."""

    value: tuple[float, ...]
    path: NDArray[np.float64]
    since: int
    scale: Scale | None
    first: bool


class Contestant:
    """`model` under its `intercept`, which begins after the learner's first `learned` samples."""

    def __init__(self, model: Run, intercept: Intercept, learned: int) -> None:
        self.model, self.intercept, self._first = model, intercept, learned
        self._path = array("d", intercept.value)

    def follow(self, outputs: Floats, labels: Sequence[Target], weights: Sequence[float]) -> None:
        """Move the intercept by the next samples that the learner learned; `outputs` (N, K) are raw."""
        for value in self.intercept.follow(outputs.tolist(), labels, weights):
            self._path.extend(value)

    def answers(self, outputs: Floats, learned: Sequence[int]) -> Floats:
        """Return raw outputs (N, K) under the intercepts of when the learner had learned so many samples (N,)."""
        path = np.frombuffer(self._path).reshape(-1, len(self.intercept.value))
        answered: Floats = outputs + path[np.clip(np.array(learned, dtype=np.int64) - self._first, 0, len(path) - 1)]
        return answered

    def forget(self, learned: int) -> None:
        """Forget the intercepts of before so many samples were learned; no prediction that is to come carries them."""
        width = len(self.intercept.value)
        gone = min(learned - self._first, len(self._path) // width - 1)
        if gone > 0:
            del self._path[: gone * width]
            self._first += gone

    def state(self, first: Run) -> ContestantState:
        """Return what it holds; `first` is the model of version 0."""
        path = np.frombuffer(self._path).copy()
        scale = scale_of(self.intercept.task)
        return ContestantState(self.intercept.value, path, self._first, scale, self.model is first)

    @classmethod
    def of(cls, state: ContestantState, model: Run, task: Task, rate: float) -> "Contestant":
        """Return a contestant that goes on from a state."""
        made = cls(model, Intercept(scaled(task, state.scale), rate, state.value), state.since)
        made._path = array("d", state.path.tobytes())
        return made
