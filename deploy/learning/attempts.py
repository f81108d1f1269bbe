"""Failures at one commit, counted where they outlive the process: on the board.

Owns the count, and which samples are suspected. Does not know how learning fails, nor what becomes of a sample. The
board may be lost: then counting begins anew.

At the third failure since one commit the samples of the micro-batches that failed are learned alone, and one that fails
alone is poison. A process that dies says nothing: whoever comes after it counts that, and from the first failure on
each micro-batch is announced before it is tried, so that it is known of which one the process died.
"""

import msgspec
from msgspec import Struct

from deploy.registry.kinds import ATTEMPTS
from streams.join.store import Store

THIRD = 3


class Span(Struct, frozen=True, array_like=True):
    """A micro-batch: samples of one shard by number, from `first` to `last`."""

    shard: int
    first: int
    last: int

    def holds(self, other: "Span") -> bool:
        """Tell whether the other one lies in it."""
        return self.shard == other.shard and self.first <= other.first and other.last <= self.last


class Tried(Struct, frozen=True):
    """What is known of the attempts to get further than a commit; `deadly` are samples of which alone it died."""

    commit: int
    failures: int = 0
    trying: Span | None = None
    suspects: list[Span] = []
    deadly: list[Span] = []


class Attempts:
    """The attempts of a feed's learner; one that begins again at the same commit counts as a failure."""

    def __init__(self, store: Store, feed: str, commit: int) -> None:
        self._store, self._feed = store, feed
        (data,) = store.get(feed, ATTEMPTS)
        found = msgspec.json.decode(data, type=Tried) if data else None
        self._now = _after_death(found) if found and found.commit == commit else Tried(commit)
        self._save()

    @property
    def note(self) -> dict[str, bytes]:
        """Give what belongs on the board while nothing is being tried."""
        return {ATTEMPTS: msgspec.json.encode(msgspec.structs.replace(self._now, trying=None))}

    def begin(self, commit: int) -> None:
        """Begin anew at a commit; `note` says so."""
        self._now = Tried(commit)

    def announce(self, batch: Span) -> None:
        """Say what is tried next, if anything has failed yet."""
        if self._now.failures:
            self._now = msgspec.structs.replace(self._now, trying=batch)
            self._save()

    def failed(self, batch: Span) -> int:
        """Count a failure of a micro-batch; gives how many there are now."""
        self._now = _suspecting(self._now, batch)
        self._save()
        return self._now.failures

    def alone(self, sample: Span) -> bool:
        """Tell whether a sample is to be learned alone."""
        return self._now.failures >= THIRD and any(one.holds(sample) for one in self._now.suspects)

    def deadly(self, sample: Span) -> bool:
        """Tell whether a process died of this sample alone."""
        return sample in self._now.deadly

    def _save(self) -> None:
        self._store.put(self._feed, {ATTEMPTS: msgspec.json.encode(self._now)})


def _suspecting(now: Tried, batch: Span) -> Tried:
    suspects = [*now.suspects, *([] if batch in now.suspects else [batch])]
    return msgspec.structs.replace(now, failures=now.failures + 1, suspects=suspects, trying=None)


def _after_death(found: Tried) -> Tried:
    """Give what follows from an attempt that ended without a word."""
    died = found.trying
    if died is None:
        return msgspec.structs.replace(found, failures=found.failures + 1)
    if found.failures >= THIRD and any(one.holds(died) for one in found.suspects) and died.first == died.last:
        return msgspec.structs.replace(found, deadly=[*found.deadly, died], trying=None)
    return _suspecting(found, died)
