"""What the distiller, the evaluator and the conductor share: take the next record, else wait, then note how far one is.

Owns these three steps. Does not know what a record is, or what is made of it.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Protocol

FAR_MS = 1_000.0  # a look at a bucket is paid for


class Board(Protocol):
    """Where notes are put: the feed's board in the store."""

    def put(self, feed: str, notes: Mapping[str, bytes], /) -> None:
        """Put notes there, by name."""

    def doze(self, feed: str, names: Sequence[str], block_ms: float, /) -> object:
        """Sleep until a note of these names is put there, at most `block_ms`."""


class Follower(ABC):
    """A role that takes the registry's records one after the other; its notes on the feed's board say how far it is."""

    def __init__(self, feed: str, store: Board, after: Sequence[str] = (), *, far: bool = False) -> None:
        """A note of the names `after` wakes it. A registry that is `far` is asked less often where none comes."""
        self._feed, self._store, self._after = feed, store, tuple(after)
        self._noted: dict[str, bytes] = {}
        self._least_ms = FAR_MS if far else 0.0

    def step(self, block_ms: int) -> bool:
        """Take the next record, or wait up to `block_ms` for a note if there is none; return whether there was one.

        What a person writes into the registry wakes nobody.
        """
        taken = self._take()
        notes = self._notes()
        if notes != self._noted:
            self._store.put(self._feed, notes)
            self._noted = notes
        if not taken and block_ms:
            self._store.doze(self._feed, self._after, max(block_ms, self._least_ms))
        return taken

    @abstractmethod
    def _take(self) -> bool:
        """Take the next record; return False if there is none yet."""

    @abstractmethod
    def _notes(self) -> dict[str, bytes]:
        """Return the notes as they should be on the board now, by name."""
