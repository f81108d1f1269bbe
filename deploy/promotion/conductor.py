"""The conductor role: turns verdicts into champions, by creating the next `champion/n` only if it is absent.

Owns that one decision. Does not know samples or models.
"""

import time

from deploy.registry.kinds import CANDIDATES, CHAMPIONS, CONDUCTOR, VERDICTS
from deploy.registry.records import Candidate, Champion, ConductorNote
from deploy.registry.registry import Registry
from learners.evaluation.evaluate import Verdict
from learners.evaluation.gate import Decision
from streams.join.store import Store


def promote(verdict: Verdict, candidate: Candidate, number: int) -> Champion:
    """Return the champion record that a proven verdict makes."""
    return Champion(
        number=number,
        artifact=candidate.artifact,
        candidate=candidate.number,
        offset=verdict.offset,
        at_ms=verdict.at_ms,
        learned=candidate.learned,
        engine=candidate.engine,
        evidence=f"W = e^{verdict.log_wealth:.1f} ≥ e^{verdict.log_needed:.1f} after {verdict.samples} samples",
    )


class ConductorRole:
    """Takes the candidates in their order: refused ones pass, a proven one becomes champion."""

    def __init__(self, feed: str, store: Store, registry: Registry) -> None:
        self._feed, self._store, self._registry = feed, store, registry
        self._done, self._version = -1, registry.last(CHAMPIONS)

    def step(self, block_ms: int) -> bool:
        """Take the next candidate that is decided, if there is one."""
        candidate = self._registry.record(CANDIDATES, self._done + 1)
        verdict = self._registry.record(VERDICTS, self._done + 1)
        if candidate is None or (verdict is None and candidate.refused is None):
            time.sleep(block_ms / 1000)
            return False
        if verdict is not None and verdict.decision is Decision.PROVEN and not self._promote(verdict, candidate):
            return True  # another conductor was faster, perhaps with this very candidate: look again
        self._done = candidate.number
        self._store.put(self._feed, CONDUCTOR.entry(ConductorNote(self._done, self._version)))
        return True

    def _promote(self, verdict: Verdict, candidate: Candidate) -> bool:
        """Make the candidate the next champion, unless it was one before; False if that number was taken meanwhile.

        The champions that were looked through end just before the number that is taken next: what another conductor
        made meanwhile has that number.
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
