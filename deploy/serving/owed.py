"""What servers still owe: predictions of requests that are in Kafka and not answered.

Owns the rule that a partition of predictions is not idle while one that is answered into it has such requests: else the
join would close windows over predictions that are yet to come, after an outage or before the first server has begun.
"""

import time
from collections.abc import Callable, Sequence
from typing import Protocol

from streams.kafka import Tp

ASK_EVERY_S = 1.0


class Answered(Protocol):
    """What keeps the servers' positions: `Positions`."""

    def committed(self, tps: Sequence[Tp]) -> dict[Tp, int]:
        """Ask for committed offsets; partitions without one are absent."""
        ...


class Log(Protocol):
    """What knows the partitions of the requests: a `Source` of all of them."""

    @property
    def tps(self) -> Sequence[Tp]:
        """The partitions."""
        ...

    def starts(self) -> dict[Tp, int]:
        """Ask for the log start of every partition."""
        ...

    def ends(self) -> dict[Tp, int]:
        """Ask for the high watermark of every partition."""
        ...


class Owed:
    """Says of each partition of predictions when it was last seen that nothing is owed.

    The answer to a request in partition p is written to partition p modulo the `predictions` partitions of its topic.
    """

    def __init__(
        self, requests: Log, positions: Answered, topic: str, predictions: int,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:  # fmt: skip
        self._requests, self._positions, self._topic, self._clock = requests, positions, topic, clock
        self._to = {tp: Tp(topic, tp.partition % predictions) for tp in requests.tps}
        self._asked_s, self._owing = float("-inf"), set[Tp]()

    def __call__(self, tp: Tp) -> float | None:
        """Return when, by `clock`, nothing was owed in a partition, or None while something is; ask once a second.

        Of other topics nothing is ever owed.

        Raises:
            BrokerUnreachable, BrokerRefused: it cannot be asked.
        """
        if tp.topic != self._topic:
            return 0.0
        if self._clock() - self._asked_s > ASK_EVERY_S:
            self._owing = {self._to[behind] for behind in self._behind()}
            self._asked_s = self._clock()
        return None if tp in self._owing else self._asked_s

    def _behind(self) -> list[Tp]:
        """Return the partitions that hold records which no server has passed."""
        starts, ends = self._requests.starts(), self._requests.ends()
        passed = self._positions.committed(self._requests.tps)
        return [tp for tp in self._requests.tps if max(passed.get(tp, 0), starts[tp]) < ends[tp]]
