"""All candidates of a feed that are under test at the same time.

A look is taken at each day's predictions once all of them are in the log, with a label or as waiting, by the outcomes
of up to that moment of event time: so a verdict follows from the log, and not from how it is cut into commits. Owns who
is on trial, who is champion, and which models answer beside it. Does not know metrics, records or files.
"""

from bisect import bisect_left
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple, TypeAlias

import numpy as np
import torch
from msgspec import Struct
from torch import Tensor

from compressors.answers import Run
from learners.commits.commit import Commit
from learners.evaluation.canary import ALL
from learners.evaluation.gate import Promotion
from learners.evaluation.guards.outputs import finite
from learners.evaluation.trials.admission import Budget, BudgetState, crowded_out
from learners.evaluation.trials.asked import DAY_MS, Asked, AskedState, Look
from learners.evaluation.trials.contestant import Contestant, ContestantState
from learners.evaluation.trials.timing import Timing
from learners.evaluation.trials.trial import Entry, Trial, TrialState
from learners.evaluation.trials.wealth import Floats
from learners.evaluation.verdict import Decision, Guard, Verdict, vetoed
from learners.tasks.task import Task
from streams.events import WAITING, Sample

HOUR_MS = 3_600_000
LAG_MS = 2 * DAY_MS  # how far the learner may lag behind serving, for a candidate to know no more than that did


class Reign(NamedTuple):
    """The version that serves: its artifact `key`, and the newest prediction whose label its training knew."""

    version: int
    key: str
    model: Run
    reach_ms: int


class ReignState(Struct):
    """A reign without its model; `first`: that is version 0's, as it was when the feed began."""

    version: int
    key: str
    reach_ms: int
    first: bool


class TrialsState(Struct):
    """All that trials hold."""

    champion: ReignState
    base: ReignState | None
    begun: list[TrialState]
    contestants: dict[str, ContestantState]
    budget: BudgetState
    asked: AskedState
    broken: dict[str, Guard]
    learned: list[tuple[int, int]]
    day: int
    marked_ms: int


class Begun(NamedTuple):
    """A trial, and its verdict where it is known: a resumed evaluator takes it from the record."""

    trial: Trial
    known: Verdict | None


Examine: TypeAlias = Callable[[Trial, Contestant, Contestant], tuple[Guard, ...]]


class Trials:
    """`artifact_of` returns the key of the version that a prediction names; None if it is not known.

    `examine` returns what the guard rails find of a trial's candidate beside the champion, once it is proven. `waits`
    returns why such an artifact waits for a person, "" if it takes over by itself: trials are against what serves.
    """

    def __init__(
        self,
        policy: Promotion,
        timing: Timing,
        first: Reign,
        artifact_of: Callable[[int], str | None],
        examine: Examine = lambda *_: (),
        waits: Callable[[str], str] = lambda _: "",
        *,
        exact: bool = False,
    ) -> None:
        """Answers that are `exact` are float64 (`learners.online.batches.kind`)."""
        self.champion, self._first, self._policy, self._timing = first, first.model, policy, timing
        self.base: Reign | None = None  # of a canary, which is the champion here: what answers the rest
        self._artifact_of, self._examine, self._budget = artifact_of, examine, Budget(policy)
        self._waits = waits
        self._dtype = np.float64 if exact else np.float32
        self._asked = Asked(timing.final)
        self._begun = list[Begun]()
        self._contestants: dict[str, Contestant] = {}
        self._broken: dict[str, Guard] = {}  # those whose outputs were not finite
        self._learned: deque[tuple[int, int]] = deque()  # by the hour, how much was learned by then
        self._day = 0  # the next one to look at
        self.marked_ms = -1  # the newest prediction that is known to wait

    def state(self) -> TrialsState:
        """Return what the trials hold."""
        return TrialsState(
            champion=self._reign(self.champion),
            base=self._reign(self.base) if self.base else None,
            begun=[one.trial.state() for one in self._begun],
            contestants={key: one.state(self._first) for key, one in self._contestants.items()},
            budget=self._budget.state(),
            asked=self._asked.state(),
            broken=self._broken,
            learned=list(self._learned),
            day=self._day,
            marked_ms=self.marked_ms,
        )

    def restore(
        self,
        state: TrialsState,
        model_of: Callable[[str], Run],
        known: Callable[[int], Verdict | None],
        task: Task,
        rate: float,
        fields: Sequence[str],
    ) -> None:
        """Go on from a state; `model_of` returns an artifact's model, `known` the verdict on a candidate, if any."""

        def reign(one: ReignState) -> Reign:
            return Reign(one.version, one.key, self._first if one.first else model_of(one.key), one.reach_ms)

        self.champion, self.base = reign(state.champion), reign(state.base) if state.base else None
        trials = [Trial.of(one, task, self._policy, fields) for one in state.begun]
        self._begun = [Begun(trial, known(trial.entry.number)) for trial in trials]
        self._contestants = {
            key: Contestant.of(one, self._first if one.first else model_of(key), task, rate)
            for key, one in state.contestants.items()
        }
        self._budget.restore(state.budget)
        self._asked.restore(state.asked)
        self._broken, self._learned = state.broken, deque(state.learned)
        self._day, self.marked_ms = state.day, state.marked_ms

    def _reign(self, one: Reign) -> ReignState:
        return ReignState(one.version, one.key, one.reach_ms, one.model is self._first)

    @property
    def all(self) -> list[Trial]:
        """The trials that run, the oldest first."""
        return [one.trial for one in self._begun]

    @property
    def models(self) -> dict[str, Run]:
        """The models that answer beside what serves, by key."""
        return {key: contestant.model for key, contestant in self._contestants.items()}

    def marks(self, entries: Sequence[Sample], *, also: bool = False) -> list[Sample]:
        """Return which of the log's entries say that a prediction waits, if that is of use here or `also` elsewhere."""
        marks = [entry for entry in entries if entry.kind == WAITING] if self._timing.marks_ms else []
        self.marked_ms = max([self.marked_ms, *(entry.t for entry in marks)])
        return marks if self._contestants or also else []

    def take(
        self,
        entries: Sequence[Sample],
        outputs: Mapping[str, Tensor],
        weights: Sequence[float],
        slices: Sequence[Sequence[str]] = (),
    ) -> None:
        """Take marks, and after them samples, with the models' raw outputs (N, K) and the slices' values.

        `weights` are the samples'. Outputs that are not finite count as 0, and who made them will not serve.
        """
        if not self._contestants:
            return
        after_ms, marks = min(trial.entry.reach_ms for trial in self.all), len(entries) - len(weights)
        fresh = np.flatnonzero([entry.t > after_ms for entry in entries])
        chosen, said = [entries[n] for n in fresh.tolist()], dict[str, Floats]()
        served = [self._artifact_of(entry.prediction.version) for entry in chosen]
        for key, contestant in self._contestants.items():
            raw = self._finite(key, outputs[key]).double().numpy()
            contestant.follow(raw[marks:], [entry.label for entry in entries[marks:]], weights)
            answers = contestant.answers(raw[fresh], [entry.prediction.learned for entry in chosen])
            said[key] = answers.astype(self._dtype)
            for n, entry in enumerate(chosen):
                if served[n] == key:
                    said[key][n] = entry.prediction.bare
        self._asked.add(chosen, said, [slices[n] for n in fresh.tolist()] if slices else ())

    def _finite(self, key: str, outputs: Tensor) -> Tensor:
        if bool(torch.isfinite(outputs).all()):
            return outputs
        self._broken.setdefault(key, finite(outputs))
        return torch.nan_to_num(outputs, 0.0, 0.0, 0.0)

    def refused(self, entry: Entry, now_ms: int) -> tuple[Decision, int | None] | None:
        """Return why a candidate does not go on trial, and when one may if a year's are spent; None if it does."""
        if entry.key == self.champion.key:
            return Decision.SAME, None
        until_ms = self._budget.spend(entry.kind, now_ms)
        return None if until_ms is None else (Decision.OVER_BUDGET, until_ms)

    def begin(
        self,
        trial: Trial,
        contestants: Mapping[str, Contestant],
        recent: tuple[Floats, Floats],
        commit: Commit,
        known: Verdict | None = None,
    ) -> list[Verdict]:
        """Put a candidate on trial against what serves now; it and that answered the `recent` predictions (N, K).

        `contestants` are they, by key, as they begin now; one that answers already goes on. `known` is the verdict,
        where an evaluator before has come to one. Return the verdict on the trial that makes room.
        """
        entry, champion, others = trial.entry, self.champion, [one.trial for one in self._begun if not one.known]
        self._day = self._day if self._begun else entry.reach_ms // DAY_MS
        self._contestants = {**contestants, **self._contestants}
        for one in (self.base, champion) if self.base else (champion,):
            trial.oppose(one.key, one.version, entry.reach_ms + 1, recent, one.reach_ms)
        self._begun.append(Begun(trial, known))
        if known or len(others) < self._policy.trials:
            return []
        out = self._end(crowded_out(others), Decision.OVERCROWDED, commit, commit.settled_ms, lost_to=entry.number)
        self._retire()
        return [out]

    def look(self, commit: Commit) -> list[Verdict]:
        """Return the verdicts that follow from what the log has up to a commit."""
        found = list[Verdict]()
        while self._begun and (now_ms := (self._day + 1) * DAY_MS + self._timing.age_ms) <= commit.settled_ms:
            look = self._asked.look((self._day + 1) * DAY_MS, now_ms)
            for trial in self.all:
                trial.look(trial.pairs, look)
                trial.count(look)
            found += self._decide(commit, now_ms, look)
            self._asked.drop(look.settled)
            self._day += 1
        if any(one.known and one.known.commit <= commit.number for one in self._begun):  # none of these looks ended it
            found += self._decide(commit, commit.settled_ms, self._asked.look(self._day * DAY_MS, commit.settled_ms))
        self._retire()
        self._forget(commit)
        return found

    def _decide(self, commit: Commit, now_ms: int, look: Look) -> list[Verdict]:
        found = list[Verdict]()
        for one in list(self._begun):
            trial = one.trial
            if one not in self._begun:
                continue
            decision, guards = _known(one.known, commit, now_ms) if one.known else self._decision(trial)
            if decision is Decision.RUNNING:
                continue
            key, waits = trial.entry.key, ""
            model = self._contestants[key].model
            if decision is Decision.PROVEN:
                waits = one.known.waits if one.known else self._waits(key)
            found.append(self._end(trial, decision, commit, now_ms, guards=guards, waits=waits))
            if decision is Decision.PROVEN and not waits:
                found += self._accede(trial, model, commit, now_ms, look)
        return found

    def _decision(self, trial: Trial) -> tuple[Decision, tuple[Guard, ...]]:
        """Return how a trial ends, with what the guard rails have found of a candidate that is proven, or broken."""
        broken, decision = self._broken.get(trial.entry.key), trial.decide()
        if broken:
            return Decision.VETOED, (broken,)
        if decision is not Decision.PROVEN:
            return decision, ()
        ours, theirs = (self._contestants[key] for key in (trial.entry.key, trial.pairs[-1].against))
        guards = self._examine(trial, ours, theirs)
        return (Decision.VETOED if vetoed(guards) else decision), guards

    def _accede(self, trial: Trial, model: Run, commit: Commit, now_ms: int, look: Look) -> list[Verdict]:
        """Have all other trials also beat the new champion, from the day after it was proven on."""
        day, entry, found = trial.proven_day, trial.entry, list[Verdict]()
        from_ms = (self._day if day is None else day + 1) * DAY_MS
        self.base = (self.base or self.champion) if self._policy.next_share() < ALL else None
        self.champion = Reign(self.champion.version + 1, entry.key, model, entry.reach_ms)
        for other in self.all:
            if other.entry.key == entry.key:
                found.append(self._end(other, Decision.SAME, commit, now_ms))
                continue
            start_ms = max(from_ms, other.entry.reach_ms + 1)
            recent = look.before(start_ms, other.entry.key, entry.key)
            pair = other.oppose(entry.key, self.champion.version, start_ms, recent, entry.reach_ms)
            other.look([pair], look)
        return found

    def crown(self, reign: Reign, contestant: Contestant, commit: Commit, barred: str | None) -> list[Verdict]:
        """Have all trials also beat a version that serves by other than a proof.

        That is from the day on of which nothing was taken yet: it has answered nothing before. None must beat the one
        that is `barred` any more; where that leaves it against this version, as after a canary, it goes on. Return the
        verdicts on candidates that are this version.
        """
        self.champion, self.base, found = reign, None, list[Verdict]()
        from_ms = (max(commit.settled_ms, commit.latest_ms, self.marked_ms) // DAY_MS + 1) * DAY_MS
        none = np.empty((0, len(contestant.intercept.value)), self._dtype)
        for trial in self.all:
            if trial.entry.key == reign.key:
                found.append(self._end(trial, Decision.SAME, commit, commit.settled_ms))
                continue
            trial.pairs = [pair for pair in trial.pairs if pair.against != barred]
            if not trial.pairs or trial.pairs[-1].against != reign.key:
                self._contestants.setdefault(reign.key, contestant)
                trial.oppose(reign.key, reign.version, from_ms, (none, none), reign.reach_ms)
        self._retire()
        return found

    def _end(
        self,
        trial: Trial,
        decision: Decision,
        commit: Commit,
        at_ms: int,
        *,
        lost_to: int | None = None,
        guards: tuple[Guard, ...] = (),
        waits: str = "",
    ) -> Verdict:
        own = self._contestants[trial.entry.key].intercept.value
        offset = tuple(a - b for a, b in zip(own, commit.intercept, strict=True))
        self._begun = [one for one in self._begun if one.trial is not trial]
        return trial.verdict(decision, offset, at_ms, commit.number, lost_to=lost_to, guards=guards, waits=waits)

    def _retire(self) -> None:
        """Let go of the models that no trial needs any more."""
        needed = {key for trial in self.all for key in trial.keys}
        if needed != self._contestants.keys():
            self._contestants = {key: one for key, one in self._contestants.items() if key in needed}
            self._broken = {key: one for key, one in self._broken.items() if key in needed}
            self._asked.leave(needed)

    def _forget(self, commit: Commit) -> None:
        """Forget the intercepts that no prediction carries that is still to come."""
        if not self._learned or commit.settled_ms >= self._learned[-1][0] + HOUR_MS:
            self._learned.append((commit.settled_ms, commit.learned))
        final_ms = commit.settled_ms - self._timing.final.negative_ms - LAG_MS
        while len(self._learned) > 1 and self._learned[1][0] < final_ms:
            self._learned.popleft()
        learned = self.learned(commit.settled_ms - self._timing.age_ms - LAG_MS)
        for contestant in self._contestants.values():
            contestant.forget(learned)

    def learned(self, before_ms: int) -> int:
        """Return how much was learned before a time, to the hour; 0 where that is not known any more, or not yet."""
        at = bisect_left(self._learned, (before_ms,))
        return self._learned[at - 1][1] if at else 0


def _known(verdict: Verdict, commit: Commit, now_ms: int) -> tuple[Decision, tuple[Guard, ...]]:
    """Return how a trial ends whose verdict is known, if it has come to it, and what its guard rails have found."""
    there = (verdict.commit, verdict.at_ms) <= (commit.number, now_ms)
    return (verdict.decision, verdict.guards) if there else (Decision.RUNNING, ())
