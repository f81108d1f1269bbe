"""One candidate's test, against every champion since it began.

Let J be the first of these champions that the candidate does not beat. It is known when it takes over, as far as the
claim goes, and W against it begins there: so a candidate that beats not all is promoted with a chance of at most its
level, and a promotion in between costs nothing. Owns what all pairs together say. Does not know other trials.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from msgspec import Struct

from compressors.scale import Scale
from learners.commits.commit import Commit
from learners.evaluation.gate import Promotion
from learners.evaluation.guards.outcomes import Outcomes, OutcomesState
from learners.evaluation.trials.asked import DAY_MS, Look
from learners.evaluation.trials.pair import Compared, Pair, PairState
from learners.evaluation.trials.wealth import Floats
from learners.evaluation.verdict import Against, Decision, Guard, Kind, Verdict
from learners.packing import scale_of, scaled
from learners.tasks.task import Task

MOST_DAYS = {Kind.REFRESH: 60, Kind.OTHER: 180}  # of samples


class Entry(NamedTuple):
    """What goes on trial: candidate `number`, whose artifact is `key`.

    Only predictions after `reach_ms` count: of these the log had told nothing when the candidate was made.
    """

    number: int
    key: str
    kind: Kind
    reach_ms: int


class TrialState(Struct):
    """What a trial has come to."""

    entry: Entry
    began_ms: int
    margin: float
    scale: Scale | None
    pairs: list[PairState]
    outcomes: OutcomesState


class Trial:
    """`margin` is what the candidate's gain must exceed against an older champion, in the unit of the task's loss.

    `fields` are those by whose values its losses are told apart.
    """

    def __init__(
        self, entry: Entry, task: Task, policy: Promotion, margin: float, began_ms: int, fields: Sequence[str] = ()
    ) -> None:
        self.entry, self.began_ms = entry, began_ms
        self._task, self._policy, self._margin = task, policy, margin
        self.pairs = list[Pair]()
        self.outcomes = Outcomes(task, fields)

    def state(self) -> TrialState:
        """Return what the trial has come to."""
        pairs, scale = [pair.state() for pair in self.pairs], scale_of(self._task)
        return TrialState(self.entry, self.began_ms, self._margin, scale, pairs, self.outcomes.state())

    @classmethod
    def of(cls, state: TrialState, task: Task, policy: Promotion, fields: Sequence[str] = ()) -> "Trial":
        """Return a trial that goes on from a state."""
        made = cls(state.entry, scaled(task, state.scale), policy, state.margin, state.began_ms, fields)
        made.pairs = list(map(Pair.of, state.pairs))
        made.outcomes.restore(state.outcomes)
        return made

    @property
    def log_needed(self) -> float:
        """The log of what W, and of another recipe L, must reach."""
        return self._policy.log_needed(self.entry.kind)

    @property
    def least(self) -> Pair:
        """The pair with the least evidence."""
        return min(self.pairs, key=lambda pair: pair.log_wealth)

    @property
    def samples(self) -> int:
        """How many predictions with labels were compared."""
        return self.pairs[0].sums.samples

    def oppose(self, key: str, version: int, from_ms: int, recent: tuple[Floats, Floats], reach_ms: int) -> Pair:
        """Have the candidate also beat a champion, from a time on; return that pair.

        `recent` are answers of both to predictions before, whose labels are not looked at. A champion that was made of
        newer samples must be beaten by itself: else two equal candidates replace each other for ever.
        """
        ours, theirs = (torch.from_numpy(rows) for rows in recent)
        bounds = (self._task.worst_gap(a, b) for a, b in ((ours, theirs), (theirs, ours)))
        largest = [float(one.max()) if len(one) else 0.0 for one in bounds]
        younger = reach_ms >= self.entry.reach_ms or self.entry.kind is Kind.OTHER
        margin = max(self._margin, 0.0) if younger else self._margin
        self.pairs.append(Pair(key, version, from_ms, margin, *largest))
        return self.pairs[-1]

    @property
    def keys(self) -> set[str]:
        """The artifacts that are compared."""
        return {self.entry.key, *(pair.against for pair in self.pairs)}

    def look(self, pairs: Sequence[Pair], look: Look) -> None:
        """Have pairs of this trial take what is known by now."""
        for pair in pairs:
            pair.look(self._compared(pair, look), self.log_needed)

    def count(self, look: Look) -> None:
        """Have the guard rails by outcomes take what is settled; it is given no second time.

        What comes after a prediction that waits is left out: outcomes that come soon are not like others.
        """
        pair, part = self.pairs[-1], slice(0, look.settled)
        ours, theirs = (look.answers(key)[part] for key in (self.entry.key, pair.against))
        there = np.isfinite(ours).all(axis=1) & np.isfinite(theirs).all(axis=1)
        at = np.flatnonzero(look.known[part] & (look.t_ms[part] >= pair.from_ms) & there)
        labels, slices = look.labels[part], look.slices[part]
        target = torch.tensor([labels[n] for n in at.tolist()], dtype=torch.from_numpy(ours).dtype)
        values = [slices[n] for n in at.tolist()]
        self.outcomes.take(pair.against, torch.from_numpy(ours[at]), torch.from_numpy(theirs[at]), target, values)

    def _compared(self, pair: Pair, look: Look) -> Compared:
        start = int(np.searchsorted(look.t_ms, pair.from_ms))
        ours, theirs = (torch.from_numpy(look.answers(key)[start:]) for key in (self.entry.key, pair.against))
        known = look.known[start:]
        at = np.flatnonzero(known)
        differences = np.full(len(known), np.nan)
        if len(at):
            target = torch.tensor([look.labels[start + n] for n in at.tolist()], dtype=ours.dtype)
            one, other = (self._task.losses(rows[at], target).double() for rows in (theirs, ours))
            differences[at] = (one - other).numpy()
        bounds, reverse = (
            self._task.worst_gap(a, b).double().numpy() for a, b in ((ours, theirs), (theirs, ours))
        )  # fmt: skip
        settled, ends = max(0, look.settled - start), look.ends[look.ends >= start] - start
        return Compared(look.t_ms[start:], differences, bounds, reverse, known, look.gone[start:], settled, ends)

    def decide(self) -> Decision:
        """Return what the looks so far have shown."""
        first, now, kind = self.pairs[0], self.pairs[-1], self.entry.kind
        if self.proven_day is not None:
            return Decision.PROVEN
        if now.log_against >= -np.log(self._policy.futility):
            return Decision.FUTILE
        days = (first.settled_ms - first.from_ms) / DAY_MS
        spent = first.sums.samples >= self._policy.horizon or days >= MOST_DAYS[kind]
        return Decision.NOT_PROVEN if spent else Decision.RUNNING

    @property
    def proven_day(self) -> int | None:
        """The day since 1970 at whose end the candidate had beaten every champion; None if it has not."""
        days = [pair.proven_day for pair in self.pairs]
        if self.entry.kind is Kind.OTHER:
            days += [pair.lasting_day for pair in self.pairs]
        return None if None in days else max(day for day in days if day is not None)

    def days_left(self, now_ms: int) -> float | None:
        """Return in how many days it is proven if the evidence goes on to grow as it has; None if it does not grow."""
        pair = self.least
        days = (now_ms - max(pair.from_ms, self.began_ms)) / DAY_MS
        if pair.log_wealth <= 0 or days <= 0:
            return None
        return max(0.0, (self.log_needed - pair.log_wealth) / (pair.log_wealth / days))

    def verdict(
        self,
        decision: Decision,
        offset: tuple[float, ...],
        at_ms: int,
        commit: int,
        *,
        lost_to: int | None = None,
        guards: tuple[Guard, ...] = (),
        waits: str = "",
    ) -> Verdict:
        """Return the verdict that ends the trial with a look at `at_ms`, by what commit `commit` has brought."""
        least = self.least
        return Verdict(
            candidate=self.entry.number,
            decision=decision,
            samples=least.sums.samples,
            log_wealth=least.log_wealth,
            log_needed=self.log_needed,
            gain=least.sums.mean,
            margin=least.margin,
            offset=offset,
            at_ms=at_ms,
            commit=commit,
            kind=self.entry.kind,
            against=self.against,
            waiting=least.waiting,
            days=(at_ms - self.began_ms) / DAY_MS,
            lost_to=lost_to,
            guards=guards,
            waits=waits,
        )

    @property
    def against(self) -> tuple[Against, ...]:
        """What was shown against each champion."""
        return tuple(
            Against(
                champion=pair.version,
                samples=pair.sums.samples,
                gain=pair.sums.mean,
                interval=pair.sums.interval,
                margin=pair.margin,
                log_wealth=pair.log_wealth,
                log_against=pair.log_against,
                log_lasting=pair.log_lasting,
            )
            for pair in self.pairs
        )


def refusal(
    entry: Entry,
    decision: Decision,
    until_ms: int | None,
    policy: Promotion,
    commit: Commit,
    guards: tuple[Guard, ...] = (),
) -> Verdict:
    """Return the verdict on a candidate that does not go on trial; where a year's are spent, one may at `until_ms`.

    `guards` are those that it has broken.
    """
    return Verdict(
        candidate=entry.number,
        decision=decision,
        samples=0,
        log_wealth=0.0,
        log_needed=policy.log_needed(entry.kind),
        gain=0.0,
        margin=0.0,
        offset=(0.0,) * len(commit.intercept),
        at_ms=commit.settled_ms,
        commit=commit.number,
        kind=entry.kind,
        until_ms=until_ms,
        guards=guards,
    )
