"""Waking: who waits for notes on a feed's board is told when one of them is put there.

Owns the subscription. A message may be lost, and a user may lack the right to hear any, so a wait is short, and only
ever too short.
"""

import time
from collections.abc import Iterable
from typing import Any, cast

from streams.errors import ShadowstreamError
from streams.redis.client import Client

DEAF = 1 / 4  # of the time between two looks, where nothing is heard


class Bell:
    """Waits for notes of these names; `channel` is the board's key, and a message has the names that were put."""

    def __init__(self, client: Client, channel: str, names: Iterable[str]) -> None:
        self._client, self._channel, self._names = client, channel, frozenset(names)
        self._heard: Any = None

    def wait(self, block_ms: float) -> bool:
        """Sleep until a note has been put since the last call, at most `block_ms`; return whether one was.

        The first call returns at once: one may have been.
        """
        until_s = time.monotonic() + block_ms / 1_000
        try:
            with self._client.answering():
                if self._heard is None:
                    self._heard = cast(Any, self._client.redis).pubsub(ignore_subscribe_messages=True)
                    self._heard.subscribe(self._channel)
                    return True
                while not (rung := self._rung(until_s - time.monotonic())) and time.monotonic() < until_s:
                    pass
                return rung
        except ShadowstreamError:  # whoever needs the store finds that out by the next call
            self._heard = None
            time.sleep(max(0.0, min(DEAF * block_ms / 1_000, until_s - time.monotonic())))
            return True

    def _rung(self, left_s: float) -> bool:
        """Hear what has come, or comes within a time; return whether one of the names was put."""
        rung, message = False, self._heard.get_message(timeout=max(0.0, left_s))
        while message:
            rung = rung or not self._names.isdisjoint(message["data"].decode().split(" "))
            message = self._heard.get_message(timeout=0.0)
        return rung
