"""Waiting for the loop for as long as it makes progress, however slowly. Does not know what is waited for."""

import time
from collections.abc import Callable, Iterator

from deploy.monitor import Monitor
from streams.errors import Stalled

STALL_S = 120.0  # between two looks


def until(done: Callable[[], bool], monitor: Monitor, what: str) -> Iterator[None]:
    """Yield until `done`; the caller sleeps or looks around meanwhile.

    Raises:
        Stalled: two looks, `STALL_S` apart, found everything where it was; the text says that `what` did not happen.
    """
    seen, looked_s = None, time.monotonic()
    while not done():
        yield
        if time.monotonic() - looked_s > STALL_S:
            reached = monitor.progress().reached()
            if reached == seen:
                raise Stalled(f"{what}, and nothing has moved for {STALL_S:.0f} s")
            seen, looked_s = reached, time.monotonic()
