"""Failures since the last commit, counted on the feed's board, where they outlive the process.

Owns the count, and which samples are suspected. Does not know how learning fails, or what becomes of a sample. The
board may be lost: then counting begins again.

After the third failure since one commit, the samples of the micro-batches that failed are learned alone, and one that
fails alone is poison. A process that dies can count nothing: the next one counts its death. From the first failure on,
each micro-batch is announced before it is tried, and so the next process knows which one killed the last.
"""

import msgspec
from msgspec import Struct

from deploy.registry.kinds import ATTEMPTS
from streams.join.store import Store

THIRD = 3


class Span(Struct, frozen=True, array_like=True):
    """Samples of one shard by number, from `first` to `last`: a micro-batch, or one sample."""

    shard: int
    first: int
    last: int

    def holds(self, other: "Span") -> bool:
        """Return whether all samples of the other one are in this one."""
        return self.shard == other.shard and self.first <= other.first and other.last <= self.last


class Tried(Struct, frozen=True):
    """The attempts to learn what follows a commit.

    `trying` was announced last, `suspects` are the micro-batches that failed, and each sample of `deadly` killed a
    process when it was learned alone.
    """

    commit: int
    failures: int = 0
    trying: Span | None = None
    suspects: list[Span] = []
    deadly: list[Span] = []


class Attempts:
    """The attempts of a feed's learner. A process that starts at the commit of the one before counts a failure."""

    def __init__(self, store: Store, feed: str, commit: int) -> None:
        self._store, self._feed = store, feed
        (data,) = store.get(feed, ATTEMPTS)
        before = msgspec.json.decode(data, type=Tried) if data else None
        self._now = _after_death(before) if before and before.commit == commit else Tried(commit)
        self._save()

    @property
    def note(self) -> dict[str, bytes]:
        """What belongs on the board while nothing is being tried."""
        return {ATTEMPTS: msgspec.json.encode(msgspec.structs.replace(self._now, trying=None))}

    def begin(self, commit: int) -> None:
        """Begin to count at a new commit; `note` has it."""
        self._now = Tried(commit)

    def announce(self, batch: Span) -> None:
        """Write down what is tried next, if anything has failed since the commit."""
        if self._now.failures:
            self._now = msgspec.structs.replace(self._now, trying=batch)
            self._save()

    def failed(self, batch: Span) -> int:
        """Count a failure of a micro-batch; return the number of failures since the commit."""
        self._now = _suspecting(self._now, batch)
        self._save()
        return self._now.failures

    def alone(self, sample: Span) -> bool:
        """Return whether a sample is to be learned alone."""
        return self._now.failures >= THIRD and any(one.holds(sample) for one in self._now.suspects)

    def deadly(self, sample: Span) -> bool:
        """Return whether this sample alone has killed a process."""
        return sample in self._now.deadly

    def _save(self) -> None:
        self._store.put(self._feed, {ATTEMPTS: msgspec.json.encode(self._now)})


def _suspecting(now: Tried, batch: Span) -> Tried:
    suspects = [*now.suspects, *([] if batch in now.suspects else [batch])]
    return msgspec.structs.replace(now, failures=now.failures + 1, suspects=suspects, trying=None)


def _after_death(before: Tried) -> Tried:
    """Return what follows from the death of a process."""
    killer = before.trying
    if killer is None:
        return msgspec.structs.replace(before, failures=before.failures + 1)
    if before.failures >= THIRD and any(one.holds(killer) for one in before.suspects) and killer.first == killer.last:
        return msgspec.structs.replace(before, deadly=[*before.deadly, killer], trying=None)
    return _suspecting(before, killer)
