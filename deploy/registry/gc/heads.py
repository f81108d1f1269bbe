"""What a sweep must know of each commit, read from the log once: a run's later sweeps go on where the last one ended.

Owns how far the log was read, and whether it is still that log. Does not know what is kept for what.
"""

from array import array
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

    @property
    def flags(self) -> int:
        return (self.due is not None) * DUE | bool(self.void or self.doubted) * BACK | bool(self.held) * HELD


DUE, BACK, HELD = 1, 2, 4


class Heads:
    """The commits of a log, from where it begins, 9 bytes each; `read` goes on where it ended."""

    def __init__(self) -> None:
        self._begin(0)

    def _begin(self, at: int) -> None:
        self._begins, self._learned, self._flags = at, array("q"), bytearray()
        self._states, self._last = dict[int, str](), b""

    @property
    def _next(self) -> int:
        return self._begins + len(self._learned)

    def read(self, registry: Registry) -> list[Head]:
        """Return all heads so far, oldest first.

        Raises:
            RegistryError, CommitError: a commit is damaged or missing.
        """
        while True:
            begins = registry.begins()
            if begins >= self._next or not self._same(registry):
                self._begin(begins)
            self._drop(begins)
            with suppress(LetGo):  # by another sweep, just now
                while data := registry.read(COMMITS, self._next):
                    self._take(data)
                return [self._head(at) for at in range(len(self._learned))]

    def _same(self, registry: Registry) -> bool:
        """Return whether the newest commit that was read is there: each names the one before it."""
        with suppress(LetGo):
            return registry.read(COMMITS, self._next - 1) == self._last
        return False

    def _drop(self, begins: int) -> None:
        """Forget the commits before the one at which the log begins."""
        if (gone := begins - self._begins) > 0:
            self._begins, self._learned, self._flags = begins, self._learned[gone:], self._flags[gone:]
            self._states = {number: state for number, state in self._states.items() if number >= begins}

    def _take(self, data: bytes) -> None:
        line = _decode(data)
        if line.state is not None:
            self._states[line.number] = line.state
        self._learned.append(line.learned)
        self._flags.append(line.flags)
        self._last = data

    def _head(self, at: int) -> Head:
        number, flags = self._begins + at, self._flags[at]
        state = self._states.get(number)
        return Head(number, self._learned[at], state, bool(flags & DUE), bool(flags & BACK), bool(flags & HELD))


_decode = msgspec.json.Decoder(_Line).decode
