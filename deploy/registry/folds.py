"""Summaries: what a role has made of the commits 0..N, so that it need not read them again.

    folds/ROLE/N-DIGEST     N has 12 digits; DIGEST is the SHA-256 of commit N, and so of all before it

Owns their names, how many stay, and that nobody else has written one. Does not know what a role makes of commits.
"""

import hashlib
from collections.abc import Iterator

import msgspec
from msgspec import Struct

from deploy.registry.log import frames
from deploy.registry.seals import Seals, digest
from deploy.registry.storage import Objects
from streams.errors import RegistryError

FOLDS, STAY = "folds", 2
DIGITS = 12


class _File(Struct, array_like=True):
    """What is in an object: the digest of `data`, sealed, and `data`."""

    head: bytes
    data: bytes


class Folds:
    """The summaries of one role; with `seals` they are signed, and checked."""

    def __init__(self, objects: Objects, role: str, seals: Seals | None = None) -> None:
        self._objects, self._folder, self._seals = objects, f"{FOLDS}/{role}", seals

    def keep(self, number: int, commit: bytes, data: bytes) -> str:
        """Keep a summary of what there was up to a commit, whose bytes are `commit`; return its name.

        The newest two stay.

        Raises:
            RegistryUnwritable: the registry is full, or nothing may be written there.
            RegistryError: there are too many bytes.
        """
        name = f"{self._folder}/{number:0{DIGITS}}-{digest(commit)}"
        head = hashlib.sha256(data).hexdigest().encode()
        head = self._seals.seal(name, head, {}) if self._seals else head
        self._objects.create(name, frames.pack(msgspec.msgpack.encode(_File(head, data)), frames.FAST))
        for old in self._objects.list(self._folder)[:-STAY]:
            self._objects.delete(old)
        return name

    def names(self) -> Iterator[tuple[int, str]]:
        """Yield the number and name of each summary, the newest first."""
        for name in reversed(self._objects.list(self._folder)):
            number = name.rpartition("/")[2].partition("-")[0]
            if number.isdigit():
                yield int(number), name

    def read(self, name: str, commit: bytes | None) -> bytes:
        """Return a summary, of commits up to the one whose bytes are `commit`.

        Raises:
            RegistryError: it is gone, damaged, or of other commits.
            Untrusted: nobody who is trusted has signed it.
        """
        if commit is None or not name.endswith(f"-{digest(commit)}"):
            raise RegistryError(f"{name} is of other commits than those that are there")
        frame = self._objects.get(name)
        if frame is None:
            raise RegistryError(f"{name} has gone")
        try:
            file = msgspec.msgpack.decode(frames.unpack(name, frame), type=_File)
        except msgspec.DecodeError as wrong:
            raise RegistryError(f"{name} is damaged: {wrong}") from None
        if self._seals:
            self._seals.check(name, file.head)
        if not file.head.startswith(hashlib.sha256(file.data).hexdigest().encode()):
            raise RegistryError(f"{name} is damaged: its bytes are not those that were written")
        return file.data
