"""When what is learned had arrived, from the sample streams to the servers.

Owns what is counted since the last commit, and since the last one that a candidate was due after. Does not know what is
learned of it.
"""

from collections.abc import Sequence

from deploy.registry.freshness import Arrivals, ArrivalsNote, Span
from deploy.registry.kinds import ARRIVALS
from streams.join.store import Store, StoredSample

SPANS = 64  # candidates that may fail one after the other before the freshness of weights is not known any more


class Arrived:
    """One learner's. What it had learned for the next candidate before it began is not counted."""

    def __init__(self, store: Store, feed: str) -> None:
        self._store, self._feed = store, feed
        note = ARRIVALS.read(*store.get(feed, ARRIVALS.name))
        self._spans = note.spans if note else []
        self._drafted, self._waiting = Arrivals(), Arrivals()

    def add(self, entries: Sequence[StoredSample]) -> None:
        """Count entries that were learned."""
        self._drafted.add(entry.arrived_ms for entry in entries)

    def drop(self) -> None:
        """Forget what was learned since the last commit."""
        self._drafted = Arrivals()

    def committed(self, commit: int, *, due: bool) -> list[tuple[int, int]]:
        """Return what commit `commit` has learned, times and counts; note it where a candidate is `due` after it."""
        drafted, self._drafted = self._drafted, Arrivals()
        self._waiting.merge(drafted)
        if due:
            spans = [one for one in self._spans if one.commit < commit]
            self._spans = [*spans, Span(commit, self._waiting.rows())][-SPANS:]
            self._waiting = Arrivals()
            self._store.put(self._feed, ARRIVALS.entry(ArrivalsNote(self._spans)))
        return drafted.rows()

    def offered(self, commit: int) -> None:
        """Note what was learned up to a commit after which no candidate was due, and its average is offered."""
        if self._waiting.rows():
            self.committed(commit, due=True)
