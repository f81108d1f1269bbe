"""Live experts beside the deep part: what all of them say, one answer of it, and what each learns when.

k80 says which experts answer and when they learn (`news`):

    k80           answer                             learn             shares           η
    ≤ 1 day       deep + intercept, all but chain    at once           equal            1
    > 1 day       deep, all but intercept            at k80            19/20 the chain's  0.05

Where all learn at once, `recent` says how wrong one of them was lately. Of numbers, actions, and classes, one or
any, there is neither chain nor recent: where k80 is more than a day all but the intercept learn at k80, have equal
shares, and η is 0.05.

Once the world has changed (`change`), tables begin anew with what came since, and the deep part must earn its share.

The mixture follows evidence at its age's end, at k80 at the earliest, by the logits recorded at the prediction. Before
k80 is known the deep part answers alone, and no mixture moves. An answer without the deep part is no evidence. Where
outcomes are late η is small, since a week's evidence errs together; and for its choice (of Binary's mixture) n equal
rows count as √n, and what was said at t as the share of the time until now that had passed then.

Owns the fold over the log: equal events, however cut, make equal bits. Does not know how the deep part learns, or how
its intercept moves.
"""

from bisect import bisect_left
from collections.abc import Callable, Iterable, Mapping, Sequence
from math import isnan, sqrt
from typing import Any

import numpy as np
import torch
from torch import Tensor

from learners.live.change import Change
from learners.live.compiled import Doubles
from learners.live.experts.expert import Combining, Followed, Pooled, Waiting
from learners.live.held import Census, Due, Entry, Heard, Held, Told, Unsaid, Waits, alike, shared
from learners.live.mixtures.mixture import LOGIT, SWITCH, Mixture
from learners.live.news import AGES_MS, DAY_MS, News
from learners.live.recent import Recent

HOUR_MS = 3_600_000
TRUST = 19.0  # the chain's share, of all others' together
ETA_LATE, SWITCH_LATE = 0.05, 1e-3  # a week's evidence errs together
DIGITS = 3  # of a logit as it is recorded, and mixed: 2.3 of 60 bytes a sample less than 4, and no loss more


def chain_ages(ages_ms: Sequence[int]) -> tuple[int, ...]:
    """Return those of the ages that the chain has marks for: it answers where k80 is more than a day."""
    return tuple(age for age in ages_ms if age >= DAY_MS)


class Pool:
    """The experts over rows of type `features`, each with `outputs` columns; `recent` follows the errors of `watched`.

    `mixing` makes what mixes so many experts at η and α; without it they say the logit of yes. What is `exact`
    has a unit, and is not rounded.
    """

    def __init__(
        self,
        features: Any,
        experts: Sequence[Pooled],
        chain: Waiting | None,
        recent: Recent | None,
        *,
        change: Change | None = None,
        outputs: int = 1,
        mixing: Callable[[int, float, float], Combining] | None = None,
        exact: bool = False,
        watched: str = "w4",
        ages_ms: Sequence[int] = AGES_MS,
    ) -> None:
        answers = [name for expert in experts for name in expert.names]
        hints = recent.names if recent else ()
        self.names = ("deep", "intercept", *answers, *(("chain",) if chain else ()), *hints)
        self.columns, self.outputs, self._mixing = len(self.names) * outputs, outputs, mixing
        self.news, self.held, self.waiting = News(ages_ms), Held(features), Held(features)
        self._experts, self._chain, self._recent, self._watched = experts, chain, recent, watched
        self._hints, self.exact = len(hints), exact
        self._change, self.changes_seen = change, 0
        self._marks_ms = chain_ages(ages_ms) if chain else ()
        self._lessons, self._marks = list[Told](), list[tuple[Told, int]]()
        self._evidence = list[tuple[Told, float]]()  # and its bet in the choice
        self._turn()

    @property
    def marks_ms(self) -> tuple[int, ...]:
        """The ages at which the pool wants to hear of what still waits."""
        return self._marks_ms if self.late else ()

    @property
    def line(self) -> str:
        """Say in a line, for people, what k80 is and what follows from it."""
        k80_ms = self.news.k80_ms
        if k80_ms is None:
            return "live experts wait until it is known how late outcomes come" + " (they are late)" * self.late
        within = f"{k80_ms / HOUR_MS:.3g} hours" if k80_ms <= DAY_MS else f"{k80_ms / DAY_MS:.0f} days"
        learn = "learn predictions of that age, and of what still waits" if self.late else "learn each at once"
        return f"80 % of outcomes come within {within}: live experts {learn}"

    def answer(
        self, rows: Sequence[Any], deep: Doubles, intercept: float | Sequence[float] = 0.0
    ) -> tuple[Doubles, Doubles]:
        """Return what each expert says (N, columns), to be recorded, and their answer: a logit (N,), or outputs (N, K).

        `deep`, (N,) or (N, K), are the deep part's outputs, NaN where there is none; `intercept` is the live one.
        """
        rows = tuple(rows)  # which all read at once
        said = np.full((len(rows), self.columns), np.nan)
        at, width = 2 * self.outputs, self.outputs
        said[:, :width] = deep = deep.reshape(len(rows), width)
        said[:, width:at] = deep + intercept
        for expert in self._experts:
            stop = at + len(expert.names) * width
            said[:, at:stop] = expert.answer(rows)
            at = stop
        if self._mixing:
            said[:, 2 * width :] = said[:, 2 * width :] if self.exact else said[:, 2 * width :].round(DIGITS)
            served = self.mixture.answer(said[:, self._chosen])
            return said, np.where(np.isfinite(deep) & (not self.news.known), deep, served)
        if self._recent and not self.late:
            said[:, at + 1 :] = self._recent.answer(rows)
        elif self._chain and self._chain.ready:
            said[:, at] = self._chain.answer(rows)[:, 0]
        deep = deep[:, 0]
        said[:, 2:] = said[:, 2:].round(DIGITS)
        p = self.mixture.answer(said[:, self._chosen])
        logits: Doubles = np.log(p / (1 - p))
        return said, logits if self.news.known else np.where(np.isnan(deep), logits, np.clip(deep, -LOGIT, LOGIT))

    @property
    def changed_ms(self) -> int:
        """The time of a prediction after which the world was another one; −1 for none."""
        return self._change.since_ms if self._change else -1

    def begin(self) -> None:
        """Begin another feed: predictions are counted anew, and no change was seen; what is known stays."""
        self.news.begin()
        self.changes_seen = 0
        if self._change:
            self._change.begin()

    def clear(self) -> None:
        """Forget the outcomes that are held, and who waits: they are another feed's. What was learned stays."""
        self.held.clear()
        self.waiting.clear()
        if self._change:
            self._change.clear()

    def study(self, rows: Sequence[Any], labels: Doubles) -> None:
        """Learn rows of history, whose outcomes are all known, in their order."""
        for expert in self._experts:
            expert.learn(rows, labels, np.ones(len(rows)))

    def learn(self, events: Iterable[Told | Waits | Unsaid | Heard | Census]) -> None:
        """Follow the log's next events, in its order."""
        for event in events:
            self._until(event.at_ms)
            if isinstance(event, Told):
                self._tell(event)
            elif isinstance(event, Waits):
                if self.late and self._chain:
                    waits = Told(event.asked, event.at_ms, np.nan)
                    self.waiting.hold(event.at_ms, Due.CHAIN, waits, event.mark)
            elif isinstance(event, Unsaid):
                self.news.outcome(event.t_ms, event.at_ms - event.t_ms)
            else:
                self._pass(event.at_ms)
                if isinstance(event, Census):
                    self.news.asked(event.at_ms, event.asked, event.window_ms)
                    self._look()
        self._flush()

    def _pass(self, now_ms: int) -> None:
        """Let the chain learn the marks up to a time of which all was told, those who wait as well as outcomes.

        The log tells of outcomes as they come, and of who waits when the watermark passes: an answer in between would
        know a day's outcomes, and not who waited on.
        """
        passed = list[Entry]()
        while entry := self.waiting.due(now_ms):
            passed.append(entry)
        self._marks += shared(passed)

    def _until(self, now_ms: int) -> None:
        passed = list[Entry]()
        while entry := self.held.due(now_ms):
            if (age_ms := self._again(entry)) > entry.age_ms:
                self.held.hold(entry.t_ms + age_ms, entry.why, entry.told)
            else:
                passed.append(entry)
        for entry, bet in zip(passed, self._bets(passed), strict=True):
            if self.news.known and not isnan(entry.told.asked.logits[0]):
                self._evidence.append((entry.told, bet))
            self._lessons += [entry.told] if entry.why is Due.LESSON else []
            if self._change and self.news.known and not self.late and self._change.add(entry.told):
                self._flush()
                if self._change.judge():
                    self._renew(self._change)

    def _bets(self, passed: Sequence[Entry]) -> list[float]:
        """Return what evidence weighs in the choice: late, a lump of it comes first, and tells of young experts."""
        if not self.late or self._mixing:
            return [entry.told.weight for entry in passed]
        return [
            entry.told.weight / sqrt(equal) * self.news.share(entry.t_ms, entry.t_ms + entry.age_ms)
            for entry, equal in zip(passed, alike(passed), strict=True)
        ]

    def _again(self, entry: Entry) -> int:
        """Return at which age to look again at evidence that is due: k80 may have changed, or not be known yet."""
        age_ms, hold_ms = entry.age_ms, self.news.hold_ms
        if self.news.known:
            return hold_ms
        return age_ms if age_ms > self.news.ages_ms[-1] else max(hold_ms, age_ms + age_ms // 2)

    def _tell(self, told: Told) -> None:
        if told.again:
            self._correct(told)
            return
        ages_ms, t_ms, due_ms = self.news.ages_ms, told.asked.t_ms, told.at_ms
        delay_ms = told.at_ms - t_ms
        self.news.outcome(t_ms, delay_ms)
        age = self.news.age_of(delay_ms)
        if age < len(ages_ms):
            due_ms = t_ms + ages_ms[age]
        if self.late:
            mark = bisect_left(self._marks_ms, delay_ms)
            if mark < len(self._marks_ms):
                self.waiting.hold(t_ms + self._marks_ms[mark], Due.CHAIN, told, mark)
        else:
            self._lessons.append(told)
        self.held.hold(due_ms, Due.LESSON if self.late else Due.EVIDENCE, told)

    def _correct(self, told: Told) -> None:
        """Take what came after the window's end as one more outcome of then: the one taken for it weighs less."""
        self._lessons.append(told)
        self._evidence += [(told, told.weight)] if self.news.known else []
        mark = bisect_left(self._marks_ms, self.news.window_ms)
        if self.late and mark < len(self._marks_ms):
            self._marks.append((told, mark))

    def _look(self) -> None:
        if self.news.late is not self.late:
            self._flush()
            self._turn()

    def _renew(self, change: Change) -> None:
        """Begin anew in a changed world, with what is known of it."""
        self.changes_seen, since = change.count, change.since
        rows, labels, weights = tuple(told.asked.row for told in since), *_numbers(since)
        for expert in self._experts:
            expert.renew(rows, labels, weights)
        self._turn()

    def _turn(self) -> None:
        """Choose who answers, by the rule, and begin their mixture anew."""
        self.late = self.news.late
        hints = self._recent.names if self._recent else ()
        out = ("intercept", *hints) if self.late else ("deep", "chain")
        chosen = [n for n, name in enumerate(self.names) if name not in out]
        self._chosen = [n * self.outputs + k for n in chosen for k in range(self.outputs)]
        if self._mixing:
            pace = (ETA_LATE, SWITCH_LATE) if self.late else (1.0, SWITCH)
            self.mixture: Combining = self._mixing(len(chosen), *pace)
        elif self.late:
            chain = len(self._chosen) - 1
            self.mixture = Mixture([1.0] * chain + [TRUST * chain], alone=chain, eta=ETA_LATE, switch=SWITCH_LATE)
        else:
            deep = 0.0 if self.changes_seen else 1.0  # what was made for another world must earn its share
            others = len(self._chosen) - self._hints - 1
            self.mixture = Mixture([deep] + [1.0] * others, hints=self._hints)

    def _flush(self) -> None:
        """Let experts, chain and mixture learn what has come together; none of them needs another's."""
        if lessons := self._lessons:
            rows, labels, weights = tuple(told.asked.row for told in lessons), *_numbers(lessons)
            for expert in self._experts:
                expert.learn(rows, labels, weights)
            if self._recent and not self.late:
                at = self.names.index(self._watched)
                self._recent.learn(rows, labels, np.array([told.asked.logits[at] for told in lessons]))
        if self._chain and (marks := self._marks):
            told, ages = zip(*marks, strict=True)
            rows, (labels, weights) = tuple(one.asked.row for one in told), _numbers(told)
            t_ms = np.array([one.asked.t_ms for one in told], dtype=np.int64)
            self._chain.waited(rows, np.array(ages, dtype=np.int64), labels, weights, t_ms)
        if self._evidence:
            evidence, bets = zip(*self._evidence, strict=True)
            logits, numbers = np.array([told.asked.logits for told in evidence])[:, self._chosen], _numbers(evidence)
            if isinstance(self.mixture, Mixture):
                self.mixture.learn(logits, *numbers, np.array(bets))
            else:
                self.mixture.learn(logits, *numbers)
        self._lessons, self._marks, self._evidence = [], [], []

    def state(self) -> dict[str, Tensor]:
        """Return copies of all that changes."""
        found = dict[str, Tensor]()
        for part, of in self._parts().items():
            found |= {f"{part}.{name}": value for name, value in of.state().items()}
        return found

    def load(self, state: Mapping[str, Tensor]) -> None:
        """Go on from a state."""
        self.news.load(_of("news", state))
        if self._change and (change := _of("change", state)):
            self._change.load(change)
            self.changes_seen = self._change.count
        self._turn()
        for part, of in self._parts().items():
            if part != "change" and (part != "waiting" or _of(part, state)):
                of.load(_of(part, state))
        if not _of("waiting", state):  # a state of before the chain's marks had a queue of their own
            self.waiting.take(self.held.part(Due.CHAIN))

    def changes(self, *, whole: bool) -> dict[str, Tensor]:
        """Return what servers need to answer as this pool does: all of it, or what changed since the last call."""
        found = {"k80": torch.tensor([self.news.rung, self.news.known, self.changes_seen])}
        found |= {f"mixture.{name}": value for name, value in self.mixture.state().items()}
        for part, of in self._answering().items():
            found |= {f"{part}.{name}": value for name, value in of.changes(whole=whole).items()}
        return found

    def follow(self, changes: Mapping[str, Tensor]) -> None:
        """Answer from now on as the pool that changed."""
        rung, known, count = changes["k80"].tolist()
        self.news.rung, self.news.known = rung, bool(known)
        if self.news.late is not self.late or count != self.changes_seen:
            self.changes_seen = count
            self._turn()
        self.mixture.load(_of("mixture", changes))
        for part, of in self._answering().items():
            of.follow(_of(part, changes))

    def _answering(self) -> dict[str, Followed]:
        """Return all that answers, now or once news is late or early again: who follows has learned none of it."""
        experts: dict[str, Followed] = {f"expert{n}": expert for n, expert in enumerate(self._experts)}
        return experts | self._late_and_recent()

    def _parts(self) -> dict[str, Any]:
        experts = {f"expert{n}": expert for n, expert in enumerate(self._experts)}
        own = {"news": self.news, "held": self.held, "waiting": self.waiting, "mixture": self.mixture}
        own |= self._late_and_recent()
        return own | ({"change": self._change} if self._change else {}) | experts

    def _late_and_recent(self) -> dict[str, Any]:
        return {name: of for name, of in (("chain", self._chain), ("recent", self._recent)) if of}


def _numbers(told: Sequence[Told]) -> tuple[Doubles, Doubles]:
    return np.array([one.label for one in told]), np.array([one.weight for one in told])


def _of(part: str, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name.partition(".")[2]: value for name, value in state.items() if name.partition(".")[0] == part}
