"""The registry: things that are created once and never changed, in a folder or a bucket.

    tail/n, log/last-first                              the learner's commits (`log/`)
    candidates/n, verdicts/n, champion/n, rulings/n     numbered records, created only if absent
    versions/last-first                                 syncs of long before, many to an object (`log/`)
    blobs/<sha256>                                      artifacts, and the first state, by their digest
    states/n-o-<sha256 of commit n>                     whole states (`states/`)
    frozen/<sha256>                                     what of states does not learn, once
    secret                                              what the noise of private updates is drawn by

Owns their numbers and digests. How bytes last is `storage.py`'s, and what they mean `kinds.py`'s.
"""

import hashlib
import secrets
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any, TypeVar

import msgspec
from msgspec import Struct

from deploy.registry.folds import Folds
from deploy.registry.kinds import ASIDE, BLOBS, CHAMPIONS, COMMITS, KINDS, SUFFIX, Kind
from deploy.registry.log import index
from deploy.registry.log.bundles import Bundles
from deploy.registry.log.log import Log
from deploy.registry.seals import Seals, broken, digest, opened
from deploy.registry.storage.home import Where, at
from streams.errors import LetGo, RegistryError, Untrusted

T = TypeVar("T", bound=Struct)
SECRET = "secret"
AHEAD = 4  # numbers that are looked at one by one before all are listed
BY_NAME = {kind.name: kind for kind in KINDS}


def begun(where: Where) -> bool:
    """Return whether a feed has a commit; nothing is made there."""
    return Log(at(where).objects).newest() >= 0


class Registry:
    """One feed's registry. With `seals`, records are signed when they are created, and checked when they are read.

    `home` is where it is, `folder` this machine's part of that.
    """

    def __init__(self, where: Where, seals: Seals | None = None) -> None:
        self.home, self._seals = at(where), seals
        self.folder, self.objects = self.home.folder, self.home.objects
        self._log, self._versions = Log(self.objects), Bundles(self.objects, CHAMPIONS.object)
        self._checked = dict[str, bytes]()  # the files of records, by place, that were found to be right

    def create(self, kind: Kind[T], number: int, record: T) -> bool:
        """Create a record durably, or return False because that number is taken."""
        return self.write(kind, number, self._sealed(kind, number, kind.encode(record)))

    def sign(self, kind: Kind[Any], number: int) -> None:
        """Sign a record as it is, whoever made it: only on a person's word."""
        data = self.read(kind, number)
        if data is not None:
            name, signed = kind.object(number), self._sealed(kind, number, opened(data)[0])
            if not self.objects.create(name, signed):  # a sync in a bundle has no object of its own
                self.objects.replace(name, signed)

    def record(self, kind: Kind[T], number: int) -> T | None:
        """Return a record, or None if there is none of that number.

        Raises:
            RegistryError: the file is not such a record, or no trusted key has signed it, or what it follows from.
            CommitError: the file is not a commit, or has a newer format.
        """
        data = self.read(kind, number)
        if data is not None and kind.follows:
            data = self._opened(kind, number, data)
        try:
            return None if data is None else kind.decode(data)
        except msgspec.DecodeError as wrong:
            raise RegistryError(f"{self.home.of(kind.object(number))}: {wrong}") from None

    def records(self, kind: Kind[T]) -> Iterator[T]:
        """Yield all records of a kind in their order; commits from the one on at which the log begins."""
        number = self.begins() if kind is COMMITS else 0
        while (record := self.record(kind, number)) is not None:
            yield record
            number += 1

    def numbers(self, kind: Kind[Any]) -> list[int]:
        """Return the numbers of the records that there are of a kind other than commits, in their order."""
        alone = self._alone(kind)
        return alone if kind is not CHAMPIONS else sorted({*alone, *self._versions.numbers()})

    def begins(self) -> int:
        """Return the number of the first commit: 0, or a later one where old samples were let go."""
        return self._log.begins()

    def write(self, kind: Kind[T], number: int, data: bytes) -> bool:
        """Create a record of these bytes durably, or return False because that number is taken."""
        if kind is COMMITS:
            with self._named():
                return self._log.create(number, data)
        if kind is CHAMPIONS:
            with self._named():
                return self._versions.create(number, data)
        return self.objects.create(kind.object(number), data)

    def read(self, kind: Kind[T], number: int) -> bytes | None:
        """Return a record's bytes, or None if there is none of that number.

        Raises:
            LetGo: the log begins at a later commit.
            RegistryError: a commit or a bundle is damaged, or missing though later ones are there.
        """
        if kind is COMMITS:
            with self._named():
                return self._log.read(number)
        if kind is CHAMPIONS:
            with self._named():
                return self._versions.read(number)
        return self.objects.get(kind.object(number))

    def place(self, kind: Kind[Any], number: int) -> str:
        """Return the name of the object that holds a record."""
        return self._log.place(number) if kind is COMMITS else kind.object(number)

    def last(self, kind: Kind[T], start: int = -1) -> int:
        """Return the highest number of a kind, or `start` if there is none above it.

        `start` is a number that is known to be taken; where the next one is not there, nothing is listed.
        """
        if kind is COMMITS:
            with self._named():
                return max(start, self._log.newest())
        for number in range(start + 1, start + 1 + AHEAD) if start >= 0 else ():
            if self.read(kind, number) is None:
                return number - 1
        return max([start, *self._alone(kind)[-1:]])

    def mentioning(self, key: str) -> Iterator[int]:
        """Yield the numbers of commits that may hold a sample of an id, newest first.

        Raises:
            RegistryError: an index is damaged.
        """
        with self._named():
            yield from index.numbers(self.objects, key)

    def folds(self, role: str) -> Folds:
        """Return the summaries of a role."""
        return Folds(self.objects, role, self._seals)

    def seal(self, place: str, record: bytes) -> bytes:
        """Return what a place is to hold that nothing follows from; it is signed where records are."""
        return self._seals.seal(place, record, {}) if self._seals else record

    def unseal(self, place: str, data: bytes) -> bytes:
        """Return the record that `seal` made the bytes of.

        Raises:
            Untrusted: nobody who is trusted has signed it.
        """
        if self._seals:
            self._seals.check(place, data)
        return opened(data)[0]

    def put(self, data: bytes, folder: str = BLOBS) -> str:
        """Keep a blob and return its digest."""
        digest = hashlib.sha256(data).hexdigest()
        self.objects.create(f"{folder}/{digest}", data)
        return digest

    def keep(self, digest: str, data: bytes) -> None:
        """Keep a blob again that was put, where it has been swept since; to be called once a record names it."""
        self.objects.create(f"{BLOBS}/{digest}", data)

    def drop(self, digest: str) -> None:
        """Delete a blob that can be made again."""
        self.objects.delete(f"{BLOBS}/{digest}")

    def get(self, digest: str, folder: str = BLOBS) -> bytes:
        """Return a blob.

        Raises:
            RegistryError: it is missing, or its bytes do not have that digest.
        """
        data = self.find(digest, folder)
        if data is None:
            raise RegistryError(f"{self.home.of(folder)}/{digest} is missing")
        return data

    def has(self, digest: str) -> bool:
        """Return whether a blob is there."""
        return self._blob(digest) is not None

    def find(self, digest: str, folder: str = BLOBS) -> bytes | None:
        """Return a blob, None if it is not there.

        Raises:
            RegistryError: its bytes do not have that digest.
        """
        data = self._blob(digest, folder)
        if data is not None and hashlib.sha256(data).hexdigest() != digest:
            raise RegistryError(f"{self.home.of(folder)}/{digest} is damaged: its bytes do not match its name")
        return data

    def _blob(self, digest: str, folder: str = BLOBS) -> bytes | None:
        name = f"{folder}/{digest}"
        names = (name, f"{folder}/{ASIDE}{digest}", name)  # a sweep may move it, and back
        return next((data for name in names if (data := self.objects.get(name)) is not None), None)

    def secret(self) -> bytes:
        """Return 32 random bytes that nobody but this registry's owner can read; the first call makes them."""
        self.objects.create(SECRET, secrets.token_bytes(32), private=True)
        if (secret := self.objects.get(SECRET)) is None:
            raise RegistryError(f"{self.home.of(SECRET)} is missing")
        return secret

    def _alone(self, kind: Kind[Any]) -> list[int]:
        """Return the numbers of the records that have an object of their own; the newest always does."""
        return [kind.number(name) for name in self.objects.list(kind.name) if name.endswith(SUFFIX)]

    def _sealed(self, kind: Kind[Any], number: int, record: bytes) -> bytes:
        """Return the file of a record."""
        if not (self._seals and kind.follows):
            return record
        follows = self._digests(kind.follows(kind.decode(record)))
        return self._seals.seal(_place(kind, number), record, follows)

    def _opened(self, kind: Kind[T], number: int, data: bytes) -> bytes:
        """Return the record of a sealed file, as JSON; check its seal, and that what it follows from is there.

        A file is checked once: a commit that it follows from may be deep in a segment, which takes 90 ms to check.
        """
        place = _place(kind, number)
        if self._seals and self._checked.get(place) != data:
            follows = self._seals.check(place, data).follows
            there = self._there(follows)
            if why := broken({of: follows[of] for of in there}, there.items()):
                raise Untrusted(f"{place} {why}")
            self._checked[place] = data
        return opened(data)[0]

    def _digests(self, follows: Sequence[tuple[str, int]]) -> dict[str, str]:
        """Return the digests of the records, by place, that are there."""
        found = self._there(f"{name}/{number}" for name, number in follows)
        return {place: digest(data) for place, data in found.items() if data is not None}

    def _there(self, follows: Iterable[str]) -> dict[str, bytes | None]:
        """Return what a record follows from, by place, without commits that were let go: nobody can look at them."""
        found = dict[str, bytes | None]()
        for place in follows:
            with suppress(LetGo):
                found[place] = self._at(place)
        return found

    @contextmanager
    def _named(self) -> Iterator[None]:
        """Have an error of the log, whose message begins with an object's name, say where that is too."""
        try:
            yield
        except RegistryError as wrong:
            raise type(wrong)(self.home.of(str(wrong))) from None

    def _at(self, place: str) -> bytes | None:
        name, _, number = place.partition("/")
        return self.read(BY_NAME[name], int(number))


def _place(kind: Kind[Any], number: int) -> str:
    return f"{kind.name}/{number}"
