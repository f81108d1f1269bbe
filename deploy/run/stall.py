"""Waiting for the loop for as long as it makes progress, however slowly. Does not know what is waited for."""

import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import TypeVar

from deploy.monitor import Monitor
from streams.errors import Stalled, Unreachable

T = TypeVar("T")

LOOKS = 20  # while nothing moves for `stall_s`; a look reads the store


def until(done: Callable[[], bool], monitor: Monitor, what: str, stall_s: float) -> Iterator[None]:
    """Yield until `done`; the caller sleeps or looks around meanwhile.

    A service that does not answer is waited for as well.

    Raises:
        Stalled: nothing has moved for `stall_s` since the last progress; the text says that `what` did not happen.
    """
    reached: object = None
    moved_s = looked_s = time.monotonic()
    while not _answered(done):
        yield
        now_s = time.monotonic()
        if now_s - looked_s < stall_s / LOOKS:
            continue
        was, reached, looked_s = reached, _answered(lambda: monitor.progress().reached()) or reached, now_s
        if reached != was:
            moved_s = now_s
        elif now_s - moved_s >= stall_s:
            raise Stalled(f"{what}, and nothing has moved for {stall_s:g} s (replay.stall_s)")


def _answered(ask: Callable[[], T]) -> T | None:
    """Return the answer; None where a service gives none."""
    with suppress(Unreachable):
        return ask()
    return None
