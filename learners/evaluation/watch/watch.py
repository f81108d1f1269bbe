"""A champion beside those before it, over predictions in their order, until something is seen or another one serves.

A canary is also asked what its base has answered, and so is compared on every prediction. Predictions are compared once
they have the age at which 98 of 100 outcomes have come; the label of one that still waits counts as that which is best
for the champion, so that no alarm follows from labels that are missing. Looks are taken by the hour of event time, and
so what is seen follows from the log and not from how it is cut into commits. Owns which predictions count. Does not
know detectors, or what follows from an alarm.
"""

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import torch
from msgspec import Struct
from torch import Tensor

from compressors.answers import Run
from learners.commits.commit import Commit
from learners.evaluation.guards.outcomes import Outcomes, OutcomesState
from learners.evaluation.guards.outputs import finite
from learners.evaluation.trials.asked import Asked, AskedState, Look
from learners.evaluation.trials.contestant import Contestant, ContestantState
from learners.evaluation.trials.interval import Sums
from learners.evaluation.trials.timing import Timing
from learners.evaluation.trials.wealth import Floats
from learners.evaluation.verdict import Guard
from learners.evaluation.watch.pair import Pair, PairState, Seen, before, older, spread
from learners.resumed import Resumed
from learners.tasks.task import Task
from streams.events import Sample

HOUR_MS, DAY_MS = 3_600_000, 86_400_000
RECENT_DELAYS, LATEST = 5_000, 0.98  # outcomes, of whose delays this share has come at the age of a comparison
LEAST_A_DAY = 1_000.0  # predictions: of fewer, as of a feed that is young, the same evidence is asked for
MOST_DAYS = 30  # of the reigns before, that say how much two versions differ from day to day
UNKNOWN = 1.0  # the mean loss, before any was seen


class Reference(NamedTuple):
    """A version that served before: its number, artifact and model; `old` ones come back by a clearer gain alone."""

    version: int
    key: str
    contestant: Contestant
    old: bool = False


class Sighting(NamedTuple):
    """What was seen of a champion beside a reference, at an event time, by what commit `commit` has brought.

    `offset` (K,) is the reference's intercept, less the one that serves. `seen` is a guard rail, if it broke one.
    """

    champion: int
    reference: int
    old: bool
    seen: Seen | Guard
    at_ms: int
    commit: int
    offset: tuple[float, ...]


class ReferenceState(Struct):
    """A reference without its model."""

    version: int
    old: bool
    contestant: ContestantState


class Counts(Struct):
    """What of a watch is plain numbers."""

    _delays: list[tuple[int, int]]
    _days: list[float]
    _count: int
    _first_ms: int
    _last_ms: int
    champion: str
    version: int
    _broken: Guard | None
    _asked: AskedState
    _until_ms: int
    _from_ms: int
    _day: int
    _aged: tuple[int, int]
    synced: bool = False


class WatchState(Struct):
    """All that a watch holds; `own` is the champion while it is a canary."""

    counts: Counts
    references: dict[str, ReferenceState]
    own: ContestantState | None
    outcomes: OutcomesState
    pairs: dict[str, PairState]


class Watch(Resumed):
    """Watches one reign after the other: `champion` is the artifact of the version `version`; `begin` one.

    `synced`: the reign is that of the syncs of a version, whose name takes an artifact's place.
    """

    State = Counts

    def __init__(self, task: Task, timing: Timing, *, exact: bool = False) -> None:
        self.task, self._timing = task, timing
        self._dtype = np.float64 if exact else np.float32
        self._delays: deque[tuple[int, int]] = deque(maxlen=RECENT_DELAYS)  # when an outcome came, and how late
        self._days = deque[float](maxlen=MOST_DAYS)
        self._count, self._first_ms, self._last_ms = 0, -1, -1
        self.champion, self.version = "", -1
        self._references: dict[str, Reference] = {}
        self._own: Contestant | None = None  # the champion, while it is a canary
        self._broken: Guard | None = None  # that its outputs were not finite
        self.outcomes = Outcomes(task, ())
        self._pairs: dict[str, Pair] = {}
        self._asked, self._until_ms, self._from_ms = Asked(timing.final), 0, 0
        self.synced = False
        self._day, self._aged = 0, (-1, 0)  # the day of the last look; a day, and the age on it
        self._window_ms = max(timing.age_ms, timing.final.without_ms or timing.final.negative_ms)

    def whole(self, first: Run) -> WatchState:
        """Return what the watch holds; `first` is the model of version 0."""
        references = {
            key: ReferenceState(one.version, one.old, one.contestant.state(first))
            for key, one in self._references.items()
        }
        own, pairs = (
            self._own.state(first) if self._own else None,
            {key: one.state() for key, one in self._pairs.items()},
        )
        return WatchState(self.state(), references, own, self.outcomes.state(), pairs)

    def go_on(
        self, state: WatchState, first: Run, model_of: Callable[[str], Run], rate: float, fields: Sequence[str]
    ) -> None:
        """Go on from a state; `model_of` returns an artifact's model."""

        def contestant(key: str, one: ContestantState) -> Contestant:
            return Contestant.of(one, first if one.first else model_of(key), self.task, rate)

        self.restore(state.counts)
        self._references = {
            key: Reference(one.version, key, contestant(key, one.contestant), old=one.old)
            for key, one in state.references.items()
        }
        self._own = contestant(self.champion, state.own) if state.own else None
        self.outcomes = Outcomes(self.task, fields if self._own else ())
        self.outcomes.restore(state.outcomes)
        self._pairs = {key: Pair(key, one.version, one._detectors) for key, one in state.pairs.items()}
        for key, one in state.pairs.items():
            self._pairs[key].restore(one)

    @property
    def models(self) -> dict[str, Run]:
        """The models that answer beside what serves, by key: the references', and a canary's."""
        return {key: one.model for key, one in self._contestants.items()}

    @property
    def _contestants(self) -> dict[str, Contestant]:
        own = {self.champion: self._own} if self._own else {}
        return {key: one.contestant for key, one in self._references.items()} | own

    @property
    def canary(self) -> tuple[Contestant, Reference, Sums] | None:
        """A canary, its base, and their differences so far; None if the champion is no canary."""
        base = next(iter(self._references.values()), None)
        if self._own is None or base is None:
            return None
        pair = self._pairs.get(base.key)
        return self._own, base, pair.sums if pair else Sums()

    def begin(
        self,
        champion: str,
        version: int,
        references: Sequence[Reference],
        loss: float,
        from_ms: int,
        canary: tuple[Contestant, Sequence[str]] | None = None,
    ) -> None:
        """Watch the version `version`, whose artifact is `champion`, on predictions after `from_ms`.

        `loss` is the mean loss of what served. A `canary` is the champion, to be asked what its base, the first of the
        references, has answered, and the fields by whose values its losses are told apart. Of a reign that is over, the
        days say how much versions differ, unless it was seen to be worse.
        """
        self._days.extend(of for key, pair in self._pairs.items() if not self._references[key].old for of in pair.days)
        self.champion, self.version = champion, version
        self._references = {one.key: one for one in references if one.key != champion}
        usual = spread(self._days, loss if np.isfinite(loss) else UNKNOWN)
        days = max(1.0, (self._last_ms - self._first_ms) / DAY_MS)
        a_day, olds = max(LEAST_A_DAY, self._count / days), sum(one.old for one in self._references.values())
        self._pairs = {
            key: Pair(key, one.version, older(usual, olds) if one.old else before(usual, a_day))
            for key, one in self._references.items()
        }
        self._asked, self._broken = Asked(self._timing.final), None
        self.alone()
        if canary:
            self._own, self.outcomes = canary[0], Outcomes(self.task, canary[1])
        self._from_ms = from_ms + 1
        self._until_ms = -(-self._from_ms // HOUR_MS) * HOUR_MS

    def alone(self) -> None:
        """Have the champion answer all requests from now on."""
        self._own, self.outcomes = None, Outcomes(self.task, ())

    def forget(self, learned: int) -> None:
        """Forget the intercepts of before so many samples were learned, as `Contestant.forget`."""
        for one in self._contestants.values():
            one.forget(learned)

    def take(
        self,
        entries: Sequence[Sample],
        outputs: Mapping[str, Tensor],
        weights: Sequence[float],
        artifact_of: Callable[[int], str | None],
        slices: Sequence[Sequence[str]] = (),
    ) -> None:
        """Take marks, and after them samples, with the models' raw outputs (N, K); `weights` are the samples'.

        `artifact_of` returns the artifact of the version that a prediction names. `slices` are N rows of values.
        """
        marks = len(entries) - len(weights)
        samples = entries[marks:]
        self._delays.extend((one.label_t, one.label_t - one.t) for one in samples)
        if samples:
            self._count += len(samples)
            self._first_ms = samples[0].t if self._first_ms < 0 else self._first_ms
            self._last_ms = max(self._last_ms, samples[-1].t)
        if not self._references:
            return
        fresh = [
            n
            for n, entry in enumerate(entries)
            if entry.t >= self._from_ms and (self._own or artifact_of(entry.prediction.version) == self.champion)
        ]
        chosen, said = [entries[n] for n in fresh], dict[str, Floats]()
        for key, one in self._contestants.items():
            raw = (self._finite(outputs[key]) if one is self._own else outputs[key]).double().numpy()
            one.follow(raw[marks:], [sample.label for sample in samples], weights)
            answers = one.answers(raw[fresh], [entry.prediction.learned for entry in chosen])
            said[key] = answers.astype(self._dtype)
        width = next(iter(said.values())).shape[1] if said else 1
        own: Floats = np.reshape([entry.prediction.bare for entry in chosen], (-1, width)).astype(self._dtype)
        if self._own:
            served = np.array([artifact_of(entry.prediction.version) for entry in chosen], dtype=object)
            for key, rows in said.items():
                rows[served == key] = own[served == key]
        else:
            said[self.champion] = own
        self._asked.add(chosen, said, [slices[n] for n in fresh] if slices else ())

    def _finite(self, outputs: Tensor) -> Tensor:
        """Return a canary's outputs; those that are not finite count as 0, and it goes."""
        if not (found := finite(outputs)).passed:
            self._broken = found
            return torch.nan_to_num(outputs, 0.0, 0.0, 0.0)
        return outputs

    def broken(self, guard: Guard, commit: Commit) -> Sighting | None:
        """Return that the champion has broken a guard rail, beside the version before it; None if there is none."""
        first = next(iter(self._references), None)
        return self._sighting(first, guard, commit.settled_ms, commit) if first else None

    def look(self, commit: Commit) -> list[Sighting]:
        """Return what is seen by what the log has up to a commit; the references that were seen are watched no more."""
        found, last_day = list[Sighting](), commit.settled_ms // DAY_MS
        if self._broken and self._own and (seen := self.broken(self._broken, commit)):
            found.append(seen)
        self._broken = None
        for day in range(max(self._day, self._from_ms // DAY_MS), last_day + 1) if self._pairs else ():
            age_ms, limit_ms = self._age_ms(day), min(commit.settled_ms, (day + 1) * DAY_MS - 1)
            while self._pairs and (now_ms := self._until_ms + HOUR_MS + age_ms) <= limit_ms:
                self._until_ms += HOUR_MS
                found += self._compare(now_ms, commit)
        self._day = last_day
        return found

    def _compare(self, now_ms: int, commit: Commit) -> list[Sighting]:
        """Compare what was asked in the next hour, by the outcomes of up to `now_ms`."""
        look, found = self._asked.look(self._until_ms, now_ms), list[Sighting]()
        if self._own:
            self._rail(look)
        for key, pair in list(self._pairs.items()) if len(look.t_ms) else ():
            differences = self._differences(look, key)
            there = np.isfinite(differences)
            if seen := pair.take(look.t_ms[there], differences[there]):
                found.append(self._sighting(key, seen, now_ms, commit))
                del self._pairs[key]
        self._asked.drop(len(look.t_ms))
        self._from_ms = self._until_ms
        return found

    def _rail(self, look: Look) -> None:
        """Have the guard rails by outcomes take what a canary and its base have answered."""
        base, at = next(iter(self._references)), np.flatnonzero(look.known)
        ours, theirs = (torch.from_numpy(look.answers(key)[at]) for key in (self.champion, base))
        target = torch.tensor([look.labels[n] for n in at.tolist()], dtype=ours.dtype)
        self.outcomes.take(base, ours, theirs, target, [look.slices[n] for n in at.tolist()])

    def _age_ms(self, day: int) -> int:
        """Return the age at which predictions are compared on a day, whole hours: by the outcomes of before it.

        Before there are any, it is that at which nothing is awaited any more.
        """
        if day != self._aged[0]:
            delays = [delay_ms for at_ms, delay_ms in self._delays if at_ms <= day * DAY_MS]
            late_ms = int(np.quantile(delays, LATEST)) if delays else self._window_ms
            least_ms = self._timing.age_ms if self._timing.marks_ms else 0
            self._aged = day, -(-min(self._window_ms, max(least_ms, late_ms)) // HOUR_MS) * HOUR_MS
        return self._aged[1]

    def _differences(self, look: Look, key: str) -> Floats:
        """Return loss(champion) − loss(reference) (N,); the least that it may be where there is no label yet."""
        ours, theirs = (torch.from_numpy(look.answers(one)) for one in (self.champion, key))
        found: Floats = -self.task.worst_gap(theirs, ours).double().numpy()
        at = np.flatnonzero(look.known)
        if len(at):
            target = torch.tensor([look.labels[n] for n in at.tolist()], dtype=ours.dtype)
            one, other = (self.task.losses(rows[at], target).double() for rows in (ours, theirs))
            found[at] = (one - other).numpy()
        return np.where(look.gone, np.nan, found)

    def _sighting(self, key: str, seen: Seen | Guard, now_ms: int, commit: Commit) -> Sighting:
        one = self._references[key]
        value = one.contestant.intercept.value
        offset = tuple(a - b for a, b in zip(value, commit.intercept, strict=True))
        return Sighting(self.version, one.version, one.old, seen, now_ms, commit.number, offset)
