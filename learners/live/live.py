"""Live experts beside the deep part: what all of them say, one answer of it, and what each learns when.

k80 says which experts answer and when they learn (`news`):

    k80           answer                                     learn             shares           η
    ≤ 1 day       deep + intercept, all others               at once           equal            1
    > 1 day       deep, the chain for the expert it stands   at k80            ½ the chain's    0.05
                  for, all others

The mixture follows evidence at its age's end, at k80 at the earliest, by the logits recorded at the prediction. Before
k80 is known the deep part answers alone, and neither mixture nor intercept moves. η is small where outcomes are late,
since a week's evidence errs together.

Owns the fold over the log: equal events, however cut, make equal bits. Does not know how the deep part learns.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from learners.live.chain import READY
from learners.live.compiled import Doubles
from learners.live.expert import Expert, Waiting
from learners.live.held import Due, Entry, Held, Told, Waits
from learners.live.mixture import LOGIT, Mixture
from learners.live.news import AGES_MS, News

RATE = 0.01  # of the intercept: it remembers about the last 1 / (rate · p (1 − p)) outcomes
ETA_LATE = 0.05
CHAIN_FROM_MS = 5_000_000  # the chain's first age is the first that is more: 1.5 h


def chain_ages(ages_ms: Sequence[int]) -> tuple[int, ...]:
    """Return those of the join's ages that the chain has marks for."""
    return tuple(age for age in ages_ms if age > CHAIN_FROM_MS)


class Live:
    """The pool over rows of type `features`; where news is late, `chain` answers for the column `stands_for`."""

    def __init__(
        self,
        features: Any,
        experts: Sequence[Expert],
        chain: Waiting,
        *,
        stands_for: str = "w4",
        ages_ms: Sequence[int] = AGES_MS,
    ) -> None:
        self.names = ("deep", "intercept", *(name for expert in experts for name in expert.names), "chain")
        self.news, self.held, self.intercept = News(ages_ms), Held(features), 0.0
        self._experts, self._chain, self._stands_for = experts, chain, stands_for
        self._first = len(ages_ms) - len(chain_ages(ages_ms))
        self._lessons, self._evidence, self._marks = list[Told](), list[Told](), list[tuple[Told, int]]()
        self._turn()

    def answer(self, rows: Sequence[Any], deep: Doubles) -> tuple[Doubles, Doubles]:
        """Return what each expert says (N, names), to be recorded, and p (N,).

        `deep` (N,) are the deep part's logits; NaN where there is none.
        """
        said = np.full((len(rows), len(self.names)), np.nan)
        said[:, 0], said[:, 1] = deep, deep + self.intercept
        at = 2
        for expert in self._experts:
            said[:, at : at + len(expert.names)] = expert.answer(rows)
            at += len(expert.names)
        if self.late:
            logits, mass = self._chain.resolved(rows).T
            said[:, -1] = np.where(mass >= READY, logits, np.nan)
        p = self.mixture.answer(said[:, self._chosen])
        alone = ~(np.isnan(deep) | self.news.known)
        return said, np.where(alone, 1 / (1 + np.exp(-np.clip(deep, -LOGIT, LOGIT))), p)

    def learn(self, events: Sequence[Told | Waits]) -> None:
        """Follow the log's next events, in its order."""
        for event in events:
            self._until(event.at_ms)
            if isinstance(event, Waits):
                self._reached(Told(event.asked, event.at_ms, np.nan), event.age)
            else:
                self._tell(event)
        self._flush()

    def _until(self, now_ms: int) -> None:
        while entry := self.held.due(now_ms):
            if entry.why is Due.COUNT:
                self._count(entry.age, ended=True)
            elif entry.why is Due.CHAIN:
                self._marks.append((entry.told, entry.age))
            elif (again_ms := self._again(entry)) > entry.due_ms:
                self.held.hold(again_ms, entry.why, entry.told)
            else:
                self._evidence += [entry.told] if self.news.known else []
                self._lessons += [entry.told] if entry.why is Due.LESSON else []

    def _again(self, entry: Entry) -> int:
        """Return when to look again at evidence that is due: k80 may have changed, or not be known yet."""
        due_ms = entry.t_ms + self.news.hold_ms
        if self.news.known:
            return due_ms
        if entry.due_ms > entry.t_ms + self.news.ages_ms[-1]:
            return entry.due_ms
        return max(due_ms, entry.due_ms + self.news.hold_ms // 2)

    def _reached(self, told: Told, age: int) -> None:
        self._count(age, ended=False)
        if self.late and age >= self._first:
            self._marks.append((told, age - self._first))

    def _tell(self, told: Told) -> None:
        ages_ms, t_ms, due_ms = self.news.ages_ms, told.asked.t_ms, told.at_ms
        age = self.news.age_of(told.at_ms - t_ms)
        if age < len(ages_ms):
            due_ms = t_ms + ages_ms[age]
            self.held.hold(due_ms, Due.COUNT, told, age)
            if self.late:
                mark = max(age, self._first)
                self.held.hold(t_ms + ages_ms[mark], Due.CHAIN, told, mark - self._first)
        if not self.late:
            self._lessons.append(told)
            self._follow(told)
        why = Due.LESSON if self.late else Due.EVIDENCE
        self.held.hold(due_ms, why, told)

    def _follow(self, told: Told) -> None:
        """Let the intercept follow an outcome: b ← b + rate · (y − σ(z + b))."""
        served = min(max(told.asked.logits[0] + self.intercept, -30.0), 30.0)
        step = RATE * told.weight * (told.label - 1 / (1 + math.exp(-served)))
        if self.news.known and math.isfinite(step):
            self.intercept += step

    def _count(self, age: int, *, ended: bool) -> None:
        self.news.count(age, ended=ended)
        if self.news.late is not self.late:
            self._flush()
            self._turn()

    def _turn(self) -> None:
        """Choose who answers, by the rule, and begin their mixture anew."""
        self.late = self.news.late
        out = ("intercept", self._stands_for) if self.late else ("deep", "chain")
        self._chosen = [n for n, name in enumerate(self.names) if name not in out]
        chain = len(self._chosen) - 1
        shares = [1.0] * chain + [float(chain) if self.late else 1.0]
        self.mixture = Mixture(shares, eta=ETA_LATE, alone=chain) if self.late else Mixture(shares)

    def _flush(self) -> None:
        """Let experts, chain and mixture learn what has come together; none of them needs another's."""
        if lessons := self._lessons:
            rows, labels, weights = tuple(told.asked.row for told in lessons), *_numbers(lessons)
            for expert in self._experts:
                expert.learn(rows, labels, weights)
        if marks := self._marks:
            told, ages = zip(*marks, strict=True)
            rows, (labels, weights) = tuple(one.asked.row for one in told), _numbers(told)
            self._chain.waited(rows, np.array(ages, dtype=np.int64), labels, weights)
        if evidence := self._evidence:
            logits = np.array([told.asked.logits for told in evidence])[:, self._chosen]
            self.mixture.learn(logits, *_numbers(evidence))
        self._lessons, self._marks, self._evidence = [], [], []

    def state(self) -> dict[str, Tensor]:
        """Return copies of all that changes."""
        found = {"intercept": torch.tensor(self.intercept, dtype=torch.float64), "late": torch.tensor(self.late)}
        for part, of in self._parts().items():
            found |= {f"{part}.{name}": value for name, value in of.state().items()}
        return found

    def load(self, state: Mapping[str, Tensor]) -> None:
        """Go on from a state."""
        self.intercept = float(state["intercept"])
        self.news.load(_of("news", state))
        self._turn()
        for part, of in self._parts().items():
            of.load(_of(part, state))

    def _parts(self) -> dict[str, Any]:
        experts = {f"expert{n}": expert for n, expert in enumerate(self._experts)}
        return {"news": self.news, "held": self.held, "mixture": self.mixture, "chain": self._chain} | experts


def _numbers(told: Sequence[Told]) -> tuple[Doubles, Doubles]:
    return np.array([one.label for one in told]), np.array([one.weight for one in told])


def _of(part: str, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name.partition(".")[2]: value for name, value in state.items() if name.partition(".")[0] == part}
