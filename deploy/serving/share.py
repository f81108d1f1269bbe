"""The request partitions that one server has: it gives up what it is told to, and begins what it is given.

Owns where a partition is begun, and how far its position may be committed: up to an offset only if all that this server
has read of it before is answered, from where it began. So no commit, late or early, loses a request, also if two
servers have a partition for a while. Does not know who else serves (`assignment.py`), or what an answer is.
"""

import time
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from typing import NamedTuple, Protocol

from streams.errors import BrokerUnreachable
from streams.kafka import Polled, Tp

COMMIT_EVERY_S = 1.0  # offsets may lag: a request that is served twice has the same id, and the join drops the second


def servers_group(feed: str) -> str:
    """Return the name of the consumer group that keeps the positions of a feed's servers; nobody joins it."""
    return f"{feed}.server"


class Order(NamedTuple):
    """Which partitions of the requests a server shall have; the highest generation counts."""

    generation: int
    partitions: frozenset[int]


NOTHING = Order(-1, frozenset())


class Share:
    """The newest order that a server has heard, and the last one that it has followed."""

    def __init__(self, ordered: Order = NOTHING) -> None:
        self.ordered, self.followed = ordered, NOTHING

    def hear(self, order: Order) -> None:
        """Take an order; an older one than the last changes nothing."""
        if order.generation > self.ordered.generation:
            self.ordered = order


class Log(Protocol):
    """What reads the requests: a `Source`."""

    def assign(self, tps: Mapping[Tp, int]) -> None:
        """Read these partitions from now on, each from its offset, and no others."""
        ...

    def position(self, tp: Tp) -> int:
        """Return the offset of the next record to read."""
        ...

    def starts(self) -> dict[Tp, int]:
        """Return the log start of every partition that is read."""
        ...

    def poll(self, timeout_ms: int, max_records: int) -> list[Polled]:
        """Take what has arrived, waiting at most `timeout_ms`."""
        ...


class Kept(Protocol):
    """What keeps the committed offsets: `Positions`."""

    def committed(self, tps: Sequence[Tp]) -> dict[Tp, int]:
        """Return the committed offsets."""
        ...

    def commit(self, offsets: Mapping[Tp, int]) -> None:
        """Send offsets without waiting."""
        ...

    def commit_now(self, offsets: Mapping[Tp, int]) -> None:
        """Send offsets, and wait until they are kept."""
        ...


class Requests:
    """One server's part of the partitions of a topic."""

    def __init__(
        self, topic: str, log: Log, kept: Kept, share: Share, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._topic, self._log, self._kept, self._share, self._clock = topic, log, kept, share, clock
        self.tps: tuple[Tp, ...] = ()
        self._answered: dict[Tp, int] = {}  # and not committed
        self._committed_s = clock()
        share.followed = NOTHING  # another's that was here before has ended
        log.assign({})

    def follow(self, held: Collection[Tp] = ()) -> dict[Tp, int] | None:
        """Follow the newest order; return where what is had now goes on, or None if nothing has changed.

        What is lost is committed before others begin it, but for partitions of which something is `held` unanswered.
        """
        ordered = self._share.ordered
        if ordered == self._share.followed:
            return None
        mine = [Tp(self._topic, partition) for partition in sorted(ordered.partitions)]
        lost = {tp: end for tp, end in self._answered.items() if tp not in mine}
        with suppress(BrokerUnreachable):  # then its next server answers some once more
            if sent := {tp: end for tp, end in lost.items() if tp not in held}:
                self._kept.commit_now(sent)
        won = [tp for tp in mine if tp not in self.tps]
        at = {tp: self._log.position(tp) for tp in mine if tp not in won}
        at |= self._kept.committed(won) if won else {}
        if new := [tp for tp in mine if tp not in at]:
            self._log.assign(dict.fromkeys(new, 0))
            at |= self._log.starts()
        self._log.assign(at)
        self.tps = tuple(mine)
        self._answered = {tp: end for tp, end in self._answered.items() if tp not in lost}
        self._share.followed = ordered
        return at

    def poll(self, timeout_ms: int, max_records: int) -> list[Polled]:
        """Take the requests that have arrived, waiting at most `timeout_ms`."""
        return self._log.poll(timeout_ms, max_records)

    def answered(self, polled: Sequence[Polled]) -> None:
        """Take note that all of these are answered, or have a letter, or are held."""
        self._answered |= {part.tp: part.end for part in polled}

    def commit(self) -> None:
        """Commit how far all is answered, once in `COMMIT_EVERY_S`; call it while nothing is held."""
        if self._answered and self._clock() - self._committed_s > COMMIT_EVERY_S:
            self._kept.commit(self._answered)
            self._answered, self._committed_s = {}, self._clock()
