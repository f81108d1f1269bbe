"""What we serve beside what another system answered to the same requests: would ours take its place?

The test is that of a candidate of another model (`trials/`): predictions in their order, what waits at its worst, looks
at ends of days. Owns which predictions count. Does not know who answered, or what follows.
"""

from collections.abc import Sequence

import numpy as np
from msgspec import Struct

from learners.commits.commit import Commit
from learners.evaluation.gate import Promotion
from learners.evaluation.trials.asked import DAY_MS, Asked, AskedState
from learners.evaluation.trials.timing import Timing
from learners.evaluation.trials.trial import Entry, Trial, TrialState
from learners.evaluation.verdict import THEIRS, Against, Kind
from learners.tasks.task import Task
from streams.events import Sample

OURS = "ours"


class BesideState(Struct):
    """What was shown so far."""

    asked: AskedState
    day: int
    proven_day: int | None
    trial: TrialState | None


class Beside:
    """Takes the log in commits; `proven_day` is the day since 1970 at whose end ours would have taken over."""

    def __init__(self, task: Task, policy: Promotion, timing: Timing, *, exact: bool = False) -> None:
        self._task, self._policy, self._timing = task, policy, timing
        self._dtype = np.float64 if exact else np.float32
        self._asked, self._day = Asked(timing.final), 0
        self._trial: Trial | None = None
        self.proven_day: int | None = None

    def state(self) -> BesideState:
        """Return what was shown so far."""
        trial = self._trial.state() if self._trial else None
        return BesideState(self._asked.state(), self._day, self.proven_day, trial)

    def restore(self, state: BesideState) -> None:
        """Go on from a state."""
        self._asked.restore(state.asked)
        self._day, self.proven_day = state.day, state.proven_day
        self._trial = Trial.of(state.trial, self._task, self._policy) if state.trial else None

    @property
    def against(self) -> Against | None:
        """What was shown so far; None before a day of it."""
        return self._trial.against[0] if self._trial and self._trial.samples else None

    @property
    def log_needed(self) -> float:
        """The natural logarithm of the evidence by which ours would take over."""
        return self._policy.log_needed(Kind.OTHER)

    def take(self, entries: Sequence[Sample]) -> None:
        """Take entries of the log; those count to which the other system has answered."""
        chosen = [entry for entry in entries if entry.prediction.theirs]
        if not chosen:
            return
        if self._trial is None:
            self._begin(min(entry.t for entry in chosen))
        said = {OURS: [one.prediction.served for one in chosen], THEIRS: [one.prediction.theirs for one in chosen]}
        self._asked.add(
            chosen, {name: np.array(rows, dtype=self._dtype).astype(np.float64) for name, rows in said.items()}
        )

    def look(self, commit: Commit) -> None:
        """Compare whole days, as far as the log tells of them."""
        trial = self._trial
        while trial and (now_ms := (self._day + 1) * DAY_MS + self._timing.age_ms) <= commit.settled_ms:
            look = self._asked.look((self._day + 1) * DAY_MS, now_ms)
            trial.look(trial.pairs, look)
            self._asked.drop(look.settled)
            self._day += 1
        if trial and self.proven_day is None:
            self.proven_day = trial.proven_day

    def _begin(self, from_ms: int) -> None:
        self._trial = Trial(Entry(-1, OURS, Kind.OTHER, from_ms - 1), self._task, self._policy, 0.0, from_ms)
        none = np.empty((0, self._task.outputs))
        self._trial.oppose(THEIRS, -1, from_ms, (none, none), from_ms)
        self._day = from_ms // DAY_MS
