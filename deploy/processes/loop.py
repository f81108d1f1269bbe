"""A role's steps, one after the other until they are stopped; the role is built again where a retry helps.

Owns the pauses between two tries, and what is known of a role's health. Runs in Ray's actors and in the workers of a
join alike, and imports neither Ray nor a model.
"""

import logging
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from typing import NamedTuple

from streams.errors import ShadowstreamError

RETRY_S, LONGEST_S = 1.0, 5.0  # the pause before another try doubles
Step = Callable[[int], object]  # its argument: how many milliseconds it may wait for something to do
Builder = Callable[[ExitStack], Step]  # builds a role; the stack closes its clients


class Health(NamedTuple):
    """How a role is: how long its step has lasted, and since when it waits for what, "" where it does not."""

    step_s: float = 0.0
    waits_s: float = 0.0
    waits_for: str = ""


class Loop:
    """The steps of one role."""

    def __init__(self) -> None:
        self._stopped, self._anew = threading.Event(), threading.Event()
        self._began_s = self._failed_s = time.monotonic()
        self._waits_for, self._pause_s = "", RETRY_S

    @property
    def health(self) -> Health:
        """How the role is now."""
        now_s = time.monotonic()
        if waits_for := self._waits_for:
            return Health(0.0, now_s - self._failed_s, waits_for)
        return Health(now_s - self._began_s)

    def run(self, role: str, build: Builder, block_ms: int) -> None:
        """Build the role and do its steps until `stop`; build it again after `begin_anew` and where a retry helps.

        `role` is its name in the log.

        Raises:
            ShadowstreamError: one that no retry helps.
        """
        while not self._stopped.is_set():
            self._anew.clear()
            try:
                with ExitStack() as stack:
                    self._began_s = time.monotonic()
                    step = build(stack)
                    while not (self._stopped.is_set() or self._anew.is_set()):
                        step(block_ms)
                        self._began_s, self._waits_for, self._pause_s = time.monotonic(), "", RETRY_S
            except ShadowstreamError as error:
                if not error.retry_helps:
                    raise
                self._wait(role, error)

    def _wait(self, role: str, error: ShadowstreamError) -> None:
        """Wait before another try, each time longer until a step succeeds."""
        if not self._waits_for:
            self._failed_s = time.monotonic()
        self._waits_for = str(error)
        logging.getLogger("shadowstream").warning("%s: %s; trying again in %g s", role, error, self._pause_s)
        self._stopped.wait(self._pause_s)
        self._pause_s = min(LONGEST_S, 2 * self._pause_s)

    def begin_anew(self) -> None:
        """Have the role built again after its current step."""
        self._anew.set()

    def stop(self) -> None:
        """End `run` after the current step."""
        self._stopped.set()
