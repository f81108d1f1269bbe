"""Waiting for the loop for as long as it makes progress, however slowly. Does not know what is waited for."""

import time
from collections.abc import Callable, Iterator

from deploy.monitor import Monitor
from streams.errors import Stalled

LOOKS = 20  # while nothing moves for `stall_s`; a look reads the store


def until(done: Callable[[], bool], monitor: Monitor, what: str, stall_s: float) -> Iterator[None]:
    """Yield until `done`; the caller sleeps or looks around meanwhile.

    Raises:
        Stalled: nothing has moved for `stall_s` since the last progress; the text says that `what` did not happen.
    """
    reached, moved_s = None, time.monotonic()
    looked_s = moved_s
    while not done():
        yield
        now_s = time.monotonic()
        if now_s - looked_s < stall_s / LOOKS:
            continue
        was, reached, looked_s = reached, monitor.progress().reached(), now_s
        if reached != was:
            moved_s = now_s
        elif now_s - moved_s >= stall_s:
            raise Stalled(f"{what}, and nothing has moved for {stall_s:g} s (replay.stall_s)")
