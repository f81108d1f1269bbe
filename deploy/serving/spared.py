"""A service that serving can do without: while it fails, calls of it are left out, and tried again after a pause.

Owns when it is tried, and what is said of it. Does not know what it is asked.
"""

import logging
import time
from collections.abc import Callable
from typing import TypeVar

from streams.errors import Unreachable

T = TypeVar("T")
PAUSE_S, LONGEST_S = 0.25, 5.0  # between two tries; the pause doubles


class Spared:
    """One service; messages say what goes on without it.

    >>> store = Spared("the store", "serving goes on")
    >>> store.call(lambda: 7)
    7
    """

    def __init__(self, name: str, meanwhile: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._name, self._meanwhile, self._clock = name, meanwhile, clock
        self._since_s: float | None = None
        self._again_s, self._pause_s = 0.0, PAUSE_S

    @property
    def due(self) -> bool:
        """Whether it is to be called: it answers, or its pause is over."""
        return self._since_s is None or self._clock() >= self._again_s

    def call(self, do: Callable[[], T]) -> T | None:
        """Return what the call returns; None where the service does not answer, or did not lately."""
        if not self.due:
            return None
        try:
            found = do()
        except Unreachable as wrong:
            self._failed(wrong)
            return None
        if self._since_s is not None:
            self._log("the server: %s answers again, after %.0f s", self._name, self._clock() - self._since_s)
            self._since_s, self._pause_s = None, PAUSE_S
        return found

    def _failed(self, wrong: Unreachable) -> None:
        now_s = self._clock()
        if self._since_s is None:
            self._since_s = now_s
            self._log("the server: %s; %s", wrong, self._meanwhile)
        self._again_s, self._pause_s = now_s + self._pause_s, min(LONGEST_S, 2 * self._pause_s)

    def _log(self, text: str, *of: object) -> None:
        logging.getLogger("shadowstream").warning(text, *of)
