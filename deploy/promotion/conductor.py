"""The conductor role: makes each proven candidate the next champion, by creating `champion/n` only if it is absent.

Owns that one decision. Does not know samples, or how a candidate is tested.
"""

from deploy.registry.follow import Follower
from deploy.registry.kinds import CANDIDATES, CHAMPIONS, CONDUCTOR, VERDICTS
from deploy.registry.records import Candidate, Champion, ConductorNote, Evidence
from deploy.registry.registry import Registry
from learners.evaluation.verdict import Decision, Verdict
from streams.join.store import Store


def promote(verdict: Verdict, candidate: Candidate, number: int) -> Champion:
    """Return the record of the candidate as version `number`; its verdict is the evidence."""
    return Champion(
        number=number,
        artifact=candidate.artifact,
        candidate=candidate.number,
        offset=verdict.offset,
        at_ms=verdict.at_ms,
        learned=candidate.learned,
        engine=candidate.engine,
        privacy=candidate.privacy,
        evidence=Evidence(
            kind=verdict.kind,
            log_needed=verdict.log_needed,
            against=verdict.against,
            waiting=verdict.waiting,
            days=verdict.days,
        ),
    )


class ConductorRole(Follower):
    """Takes verdicts in the order of the commits that decided: a proven candidate becomes the next champion."""

    def __init__(self, feed: str, store: Store, registry: Registry) -> None:
        super().__init__(feed, store)
        self._registry = registry
        self._open: dict[int, Candidate] = {}  # those without a verdict
        self._candidate, self._verdicts, self._version = -1, 0, registry.last(CHAMPIONS)

    def _take(self) -> bool:
        """Take the next verdict, if there is one."""
        while candidate := self._registry.record(CANDIDATES, self._candidate + 1):
            self._candidate = candidate.number
            if candidate.refused is None:
                self._open[candidate.number] = candidate
        verdicts = [verdict for number in self._open if (verdict := self._registry.record(VERDICTS, number))]
        if not verdicts:
            return False
        verdict = min(verdicts, key=lambda one: (one.commit, one.at_ms, one.candidate))
        proven = verdict.decision is Decision.PROVEN
        if proven and not self._promote(verdict, self._open[verdict.candidate]):
            return True  # another conductor was faster: look again
        del self._open[verdict.candidate]
        self._verdicts += 1
        return True

    def _notes(self) -> dict[str, bytes]:
        return CONDUCTOR.entry(ConductorNote(self._verdicts, self._version))

    def _promote(self, verdict: Verdict, candidate: Candidate) -> bool:
        """Make the candidate the next champion, unless it was one before; return False if that number is taken.

        Then another conductor has made a champion meanwhile. It may be of this very candidate, so the caller looks
        again: a champion made after the look has the number that is tried here, or a higher one.
        """
        champions = list(self._registry.records(CHAMPIONS))
        self._version = champions[-1].number
        if any(champion.candidate == candidate.number for champion in champions):
            return True
        champion = promote(verdict, candidate, self._version + 1)
        if not self._registry.create(CHAMPIONS, champion.number, champion):
            return False
        self._version = champion.number
        return True
