"""The conductor role: decides which version serves, by creating `champion/n` only if it is absent.

What a person has ordered comes first, then what an alarm asks for, then what is proven, then a canary's next share, or
the shadow's newest average.
Owns these decisions. Does not know samples, or how a candidate is tested.
"""

from collections.abc import Callable

from msgspec.structs import replace

from deploy.promotion.decisions import Decided, Rules, back, ordered, promoted, sighted, stepped, synced
from deploy.registry.commits import known
from deploy.registry.follow import Board, Follower
from deploy.registry.kinds import (
    ALARMS,
    BROKEN,
    CANDIDATES,
    CHAMPIONS,
    COMMITS,
    CONDUCTOR,
    EVALUATOR,
    ORDERS,
    STEPS,
    SYNC,
    VERDICTS,
)
from deploy.registry.notes import BrokenNote, ConductorNote, SyncNote
from deploy.registry.records import Alarm, Candidate, Champion, Order
from deploy.registry.registry import Registry
from deploy.registry.reigns import add, versions
from learners.evaluation.canary import ALL
from learners.evaluation.gate import Promotion
from learners.evaluation.verdict import Decision, Guard, Verdict


class ConductorRole(Follower):
    """Takes orders in theirs, and alarms and verdicts in the order of the commits that decided."""

    def __init__(
        self,
        feed: str,
        store: Board,
        registry: Registry,
        promotion: Promotion | None = None,
        broken: Callable[[], BrokenNote | None] = lambda: None,
        average: Callable[[], SyncNote | None] = lambda: None,
    ) -> None:
        """By default `promotion` is `Promotion()`; `broken` returns what a server has seen of the version it serves,
        and `average` the shadow's newest average.
        """
        super().__init__(feed, store, (EVALUATOR.name, BROKEN.name, SYNC.name), far=not registry.home.local)
        self._promotion = promotion or Promotion()
        self._registry, self._rules = registry, Rules(self._promotion.policy)
        self._open: dict[int, Candidate] = {}  # those without a verdict
        self._candidate, self._verdicts, self._alarms, self._orders = -1, 0, 0, 0
        self._champions = list[Champion]()
        self._average, self._synced = average, -1  # the commit of the newest that was decided on
        self._broken, self._seen = broken, BrokenNote(-1, "", -1, 0, Guard("", None, None, passed=True, said=""))

    def _take(self) -> bool:
        """Take the next order, alarm or verdict, if there is one; look again where another conductor was faster."""
        if order := self._registry.record(ORDERS, self._orders):
            if self._obey(order):
                self._orders += 1
            return True
        self._hear()
        alarm, verdict = self._registry.record(ALARMS, self._alarms), self._verdict()
        if alarm and (verdict is None or (alarm.commit, 0) <= (verdict.commit, 1)):
            if self._heed(alarm):
                self._alarms += 1
            return True
        if verdict is None:
            return self._step() or self._sync()
        if self._judge(verdict, self._open[verdict.candidate]):
            del self._open[verdict.candidate]
            self._verdicts += 1
        return True

    def _hear(self) -> None:
        """Write down as an alarm what a server has seen of the version that serves, once."""
        note = self._broken()
        if note is None or note == self._seen:
            return
        seen = self._registry.record(CHAMPIONS, note.version)
        if seen is None or seen.artifact != note.artifact:  # of an earlier feed of this name
            self._seen = note
            return
        champions, alarms = self._versions(), list(self._registry.records(ALARMS))
        now = self._registry.last(COMMITS)
        commit = self._registry.record(COMMITS, now)
        at_ms = max(commit.watermark_ms if commit else 0, champions[-1].at_ms if champions else 0)
        alarm = sighted(note, champions, alarms, at_ms, max(now, 0))
        if alarm is None or self._registry.create(ALARMS, alarm.number, alarm):
            self._seen = note  # else the evaluator has raised one meanwhile

    def _verdict(self) -> Verdict | None:
        while candidate := self._registry.record(CANDIDATES, self._candidate + 1):
            self._candidate = candidate.number
            if candidate.refused is None:
                self._open[candidate.number] = candidate
        verdicts = [verdict for number in self._open if (verdict := self._registry.record(VERDICTS, number))]
        return min(verdicts, key=lambda one: (one.commit, one.at_ms, one.candidate), default=None)

    def _notes(self) -> dict[str, bytes]:
        champions = self._versions()
        waits, version = self._rules.waits(champions), champions[-1].number if champions else -1
        return CONDUCTOR.entry(ConductorNote(self._verdicts, version, self._alarms, waits, self._synced))

    def _versions(self) -> list[Champion]:
        """Return the versions so far, of syncs in a row the newest; each is read once."""
        if not self._champions:
            self._champions = versions(self._registry)
        while champion := self._registry.record(CHAMPIONS, self._champions[-1].number + 1 if self._champions else 0):
            add(self._champions, champion)
        return self._champions

    def _obey(self, order: Order) -> bool:
        """Do what a person wants, unless it was done before; return False if another conductor has made a version."""
        self._rules.hear(order)
        commit = known(self._registry, order.commit)
        now_ms = max(commit.watermark_ms if commit else 0, self._versions()[-1].at_ms)
        verdict = None if order.candidate is None else self._registry.record(VERDICTS, order.candidate)
        return self._make(lambda champions: ordered(order, champions, self._candidate_of(order), now_ms, verdict))

    def _heed(self, alarm: Alarm) -> bool:
        """Go back, if that is the rule; return as `_obey`."""
        return self._make(lambda champions: back(alarm, champions) if self._rules.heeds(alarm, champions) else None)

    def _judge(self, verdict: Verdict, candidate: Candidate) -> bool:
        """Promote the candidate, if it is proven and that is the rule; return as `_obey`."""
        if verdict.decision is not Decision.PROVEN:
            return True

        def promote(champions: list[Champion]) -> Decided:
            if verdict.waits or self._rules.holds(candidate.artifact, champions):
                return None
            return promoted(verdict, candidate, champions, self._promotion.next_share())

        return self._make(promote)

    def _step(self) -> bool:
        """Have a canary answer its next share, or none, once its step is over; return False if it is not.

        While a person is waited for, the share stays; a canary that has broken a guard rail is gone all the same.
        """
        champions = self._versions()
        now = champions[-1] if champions else None
        step = self._registry.record(STEPS, now.number) if now and now.share < ALL else None
        if step is None or (step.passed and self._rules.waits(champions)):
            return False
        self._make(lambda champions: stepped(step, champions, self._promotion.next_share(step.share)))
        return True

    def _sync(self) -> bool:
        """Have the shadow's newest average serve, where that is the rule; return False if there is none newer."""
        note = self._average() if self._promotion.sync_ms else None
        commit = known(self._registry, note.commit) if note and note.commit > self._synced else None
        if note is None or commit is None:
            return False

        def serve(champions: list[Champion]) -> Decided:
            return None if self._rules.waits(champions) else synced(note, champions, commit)

        if self._make(serve):
            self._synced = note.commit
        return True

    def _make(self, decide: Callable[[list[Champion]], Decided]) -> bool:
        """Make the version that is decided on; return False if its number is taken.

        Then another conductor has made a version meanwhile. It may be this very one, so the caller looks again: one
        made after the look has the number that is tried here, or a higher one.
        """
        champions = self._versions()
        made = decide(champions)
        if made is None:
            return True
        commit = made.commit if made.commit is not None else self._registry.last(COMMITS)
        at_ms = max(made.at_ms, champions[-1].at_ms)  # a verdict may be of before the sync that serves
        made = replace(made, number=champions[-1].number + 1, commit=commit, at_ms=at_ms)
        return self._registry.create(CHAMPIONS, made.number, made)

    def _candidate_of(self, order: Order) -> Candidate | None:
        """Return the candidate of an order; None for one of a version, and where the artifact has gone."""
        found = None if order.candidate is None else self._registry.record(CANDIDATES, order.candidate)
        return found if found and self._registry.has(found.artifact) else None
