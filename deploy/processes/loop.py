"""A role's steps, one after the other until they are stopped; the role is built again where a retry helps.

Runs in Ray's actors and in the workers of a join alike, and imports neither Ray nor a model.
"""

import logging
import threading
from collections.abc import Callable
from contextlib import ExitStack

from streams.errors import ShadowstreamError

RETRY_S = 1.0
Step = Callable[[int], object]  # its argument: how many milliseconds it may wait for something to do
Builder = Callable[[ExitStack], Step]  # builds a role; the stack closes its clients


class Loop:
    """The steps of one role."""

    def __init__(self) -> None:
        self._stopped, self._anew = threading.Event(), threading.Event()

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
                    step = build(stack)
                    while not (self._stopped.is_set() or self._anew.is_set()):
                        step(block_ms)
            except ShadowstreamError as error:
                if not error.retry_helps:
                    raise
                logging.getLogger("shadowstream").warning("%s: %s; trying again", role, error)
                self._stopped.wait(RETRY_S)

    def begin_anew(self) -> None:
        """Have the role built again after its current step."""
        self._anew.set()

    def stop(self) -> None:
        """End `run` after the current step."""
        self._stopped.set()
