"""The conductor role: turns verdicts into champions, by creating the next `champion/n` only if it is absent.

Owns that one decision. Does not know samples or models.
"""

import time

from deploy.registry import records
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
        evidence=f"W = e^{verdict.log_wealth:.1f} ≥ e^{verdict.log_needed:.1f} after {verdict.samples} samples",
    )


class ConductorRole:
    """Takes the candidates in their order: refused ones pass, a proven one becomes champion."""

    def __init__(self, feed: str, store: Store, registry: Registry) -> None:
        self._feed, self._store, self._registry = feed, store, registry
        self._done, self._version = -1, registry.last("champion")

    def step(self, block_ms: int) -> bool:
        """Take the next candidate that is decided, if there is one."""
        candidate = self._registry.record("candidates", self._done + 1, Candidate)
        verdict = self._registry.record("verdicts", self._done + 1, Verdict)
        if candidate is None or (verdict is None and candidate.refused is None):
            time.sleep(block_ms / 1000)
            return False
        if verdict is not None and verdict.decision is Decision.PROVEN and not self._promote(verdict, candidate):
            return True  # another conductor was faster, perhaps with this very candidate: look again
        self._done = candidate.number
        note = records.encode(ConductorNote(self._done, self._version))
        self._store.put(self._feed, {"conductor": note})
        return True

    def _promote(self, verdict: Verdict, candidate: Candidate) -> bool:
        """Make the candidate the next champion, unless it was one before; False if that number was taken meanwhile.

        The next number is determined before the champions are looked through: a conductor that was paused in between
        finds its number taken.
        """
        self._version = self._registry.last("champion", self._version)
        champions = (self._registry.record("champion", n, Champion) for n in range(self._version + 1))
        if any(c is not None and c.candidate == candidate.number for c in champions):
            return True
        champion = promote(verdict, candidate, self._version + 1)
        if not self._registry.create("champion", champion.number, records.encode(champion)):
            return False
        self._version = champion.number
        return True
