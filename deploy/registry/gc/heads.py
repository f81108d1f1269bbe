"""What a sweep must know of each commit, read from the log once.

Owns how far the log was read. Does not know what is kept for what.
"""

from contextlib import suppress
from typing import Any, NamedTuple

import msgspec
from msgspec import Struct

from deploy.registry.kinds import COMMITS
from deploy.registry.registry import Registry
from streams.errors import LetGo


class Head(NamedTuple):
    """What is read of a commit, one of many: whether a candidate is due of it, and whether it takes samples of earlier
    commits back, or holds some. `state` is the digest of its whole state, where it names one.
    """

    number: int
    learned: int
    state: str | None
    due: bool
    takes_back: bool
    held: bool


class _Line(Struct):
    number: int
    learned: int = 0
    state: str | None = None
    due: dict[str, Any] | None = None
    void: dict[str, str] = {}
    doubted: list[Any] = []
    held: list[Any] = []


def _head(data: bytes) -> Head:
    line = _decode(data)
    back = bool(line.void or line.doubted)
    return Head(line.number, line.learned, line.state, line.due is not None, back, bool(line.held))


class Heads:
    """The commits of a log, from where it begins; `read` goes on where it ended."""

    def __init__(self, registry: Registry) -> None:
        self._registry, self._next, self._all = registry, 0, list[Head]()

    def read(self) -> list[Head]:
        """Return all heads so far, oldest first.

        Raises:
            RegistryError, CommitError: a commit is damaged or missing.
        """
        while True:
            begins = self._registry.begins()
            self._all, self._next = [one for one in self._all if one.number >= begins], max(self._next, begins)
            with suppress(LetGo):  # by another sweep, just now
                while data := self._registry.read(COMMITS, self._next):
                    self._all.append(_head(data))
                    self._next += 1
                return self._all


_decode = msgspec.json.Decoder(_Line).decode
