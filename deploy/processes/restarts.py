"""When a role that has ended begins again: at once, then after growing pauses; one that ends at once each time is held.

Owns these times. Does not know why a role ends, nor how it is started.
"""

import time
from collections.abc import Callable

PAUSES_S = (0.0, 1.0, 2.0, 4.0, 8.0, 16.0, 30.0)  # before the first new start, the second, …
GOOD_S = 60.0  # after so long a life the next pause is the first one again
AT_ONCE_S, HELD_AFTER, HELD_S = 10.0, 5, 60.0  # so many short lives that end alike: then one try in a minute


class Restarts:
    """The ends and new starts of one role.

    >>> role = Restarts()
    >>> role.ended("it is wrong", lived_s=0.0)
    >>> role.due, role.why, role.held
    (True, 'it is wrong', False)
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._ends, self._alike = 0, 0
        self._next_s = 0.0
        self.why = self.last = ""  # why it has ended, "" while it runs; why it has ended last

    @property
    def held(self) -> bool:
        """Whether it is tried seldom, for it ends at once each time."""
        return self._alike >= HELD_AFTER

    @property
    def due(self) -> bool:
        """Whether it has ended and may begin now."""
        return bool(self.why) and self._clock() >= self._next_s

    def ended(self, why: str, lived_s: float) -> None:
        """Take note that it has ended, so long after it had begun to answer."""
        if lived_s >= GOOD_S:
            self._ends = self._alike = 0
        alike = lived_s < AT_ONCE_S and why == self.last
        self._alike = self._alike + 1 if alike else int(lived_s < AT_ONCE_S)
        pause_s = HELD_S if self.held else PAUSES_S[min(self._ends, len(PAUSES_S) - 1)]
        self._ends += 1
        self._next_s = self._clock() + pause_s
        self.why = self.last = why

    def begun(self) -> None:
        """Take note that it begins again."""
        self.why = ""
