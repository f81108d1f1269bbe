"""The conductor role: makes each proven candidate the next champion, by creating `champion/n` only if it is absent.

Owns that one decision. Does not know samples, or how a candidate is tested.
"""

from deploy.registry.follow import Follower
from deploy.registry.kinds import CANDIDATES, CHAMPIONS, CONDUCTOR, VERDICTS
from deploy.registry.records import Candidate, Champion, ConductorNote
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
        evidence=f"e^{verdict.log_wealth:.1f} of e^{verdict.log_needed:.1f} after {verdict.samples:,} samples",
    )


class ConductorRole(Follower):
    """Takes the candidates in their order, as they are decided: a proven one becomes the next champion."""

    def __init__(self, feed: str, store: Store, registry: Registry) -> None:
        super().__init__(feed, store)
        self._registry = registry
        self._candidate, self._version = -1, registry.last(CHAMPIONS)

    def _take(self) -> bool:
        """Take the next candidate, if it is decided: refused when it was made, or by its verdict."""
        candidate = self._registry.record(CANDIDATES, self._candidate + 1)
        verdict = self._registry.record(VERDICTS, self._candidate + 1)
        if candidate is None or (verdict is None and candidate.refused is None):
            return False
        if verdict is not None and verdict.decision is Decision.PROVEN and not self._promote(verdict, candidate):
            return True  # another conductor was faster: look again
        self._candidate = candidate.number
        return True

    def _notes(self) -> dict[str, bytes]:
        return CONDUCTOR.entry(ConductorNote(self._candidate, self._version))

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
