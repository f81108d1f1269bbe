"""How fresh a server's predictions are: how long after their arrival outcomes are known to a first prediction.

Owns what was counted of it since the server began. Does not know requests, or how a version or an expert learns.
"""

from collections.abc import Sequence

from deploy.registry.freshness import FreshNote, Histogram
from deploy.registry.kinds import ARRIVALS, FRESHNESS
from streams.join.store import Store


class Fresh:
    """One server's; the version that serves now was made of the state of `commit`."""

    def __init__(self, feed: str, store: Store, commit: int) -> None:
        self._feed, self._store, self._commit = feed, store, commit
        self._live, self._weights = Histogram(), Histogram()

    def written(self, arrived: Sequence[tuple[int, int]], commit: int) -> dict[str, bytes]:
        """Count what the predictions just written are the first to know; return what is to be noted, if anything is.

        Live experts have learned what `arrived`: times by the store's clock, and counts. The version was made of the
        state of `commit`.
        """
        newer = commit > self._commit
        if not (arrived or newer):
            return {}
        now_ms = self._store.now_ms()
        self._live.add(arrived, now_ms)
        if newer and (note := ARRIVALS.read(*self._store.get(self._feed, ARRIVALS.name))):
            self._weights.add(note.between(self._commit, commit), now_ms)
        self._commit = max(commit, self._commit)
        return FRESHNESS.entry(FreshNote(live=self._live.ages, weights=self._weights.ages))
