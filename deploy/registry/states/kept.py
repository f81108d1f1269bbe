"""A learner's whole states in the registry: their bytes, and which can be gone on from.

A state's object is a line that says of which commit it is, signed where records are, an empty line, and its bytes
(`learners/commits/compact.py`). Commit 0 names its own, a blob, as nothing else leads to it; so did every commit with a
state in releases before. Owns that what does not learn is kept once, in `frozen/`, for all states, and that one that is
damaged is passed over. Does not know when a state is written.
"""

import hashlib
import logging
from collections.abc import Callable, Collection, Mapping

import msgspec
from msgspec import Struct
from torch import Tensor

from deploy.registry.kinds import BLOBS, COMMITS, FROZEN, PIPELINES
from deploy.registry.records import Described
from deploy.registry.registry import Registry
from deploy.registry.states.names import Name, listed
from learners.commits.commit import Commit
from learners.commits.compact import pack, pieces, unpack
from learners.commits.voids import ALL, Bounds, remaining
from learners.online.learner import Learner
from streams.errors import RegistryError

END = b"\n\n"  # of the head: neither JSON has a line feed, and a seal is parted from its record by one
MOST_HEAD = 4_096  # bytes


class Head(Struct, frozen=True, kw_only=True):
    """What a state says of itself: the digest of its commit, and that of the bytes after the head."""

    chain: str
    digest: str


def put(registry: Registry, learner: Learner) -> str:
    """Keep the state of before the first sample as a blob, and return its digest, which a record is to name."""
    return registry.put(pack(learner.state(), learner.frozen, lambda data: registry.put(data, FROZEN)))


def write(registry: Registry, name: Name, state: Mapping[str, Tensor], frozen: Collection[str] = ()) -> None:
    """Keep a state durably under its name.

    Raises:
        RegistryUnwritable: the registry is full, or does not answer.
    """
    parts = pieces(state, frozen, lambda data: registry.put(data, FROZEN))
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part)
    head = msgspec.json.encode(Head(chain=name.chain, digest=digest.hexdigest()))
    registry.objects.create(name.object, b"".join([registry.seal(name.object, head), END, *parts]))


def get(registry: Registry, digest: str) -> dict[str, Tensor]:
    """Return a state that is a blob.

    Raises:
        RegistryError: it is missing or damaged, or what does not learn is missing.
        CommitError: it is of a newer release.
    """
    found = _find(registry, digest)
    if found is None:
        raise RegistryError(f"{registry.home.of(BLOBS)}/{digest} is missing")
    return found


def turn(registry: Registry) -> Described | None:
    """Return the pipeline by which the log was learned again last; None if it never was."""
    numbers = range(registry.last(PIPELINES), -1, -1)
    found = (registry.record(PIPELINES, number) for number in numbers)
    return next((one for one in found if one and one.first is not None), None)


class Kept:
    """The states that there are now, to be asked for by commits.

    States of before the log was learned again by another pipeline are none: that one's state of before the first sample
    takes the place of commit 0's.
    """

    def __init__(self, registry: Registry) -> None:
        self._registry, self._turned = registry, turn(registry)
        self._names: dict[int, list[Name]] = {}
        for name in listed(registry.objects):
            self._names.setdefault(name.number, []).append(name)

    def may_come(self, commit: Commit) -> bool:
        """Return whether a commit's state may still be written: they are written in their order."""
        behind = self._turned is not None and commit.number <= self._turned.commit
        return not behind and max(self._names, default=-1) < commit.number

    def of(self, commit: Commit, bounds: Bounds = ALL) -> dict[str, Tensor] | None:
        """Return a commit's state; None if there is none that can be read, or not all that led to it remains.

        Raises:
            CommitError: it is of a newer release.
        """
        if self._turned and commit.number <= self._turned.commit:
            first = self._turned.first if commit.number == 0 else None
            return self._tried(lambda: _find(self._registry, str(first))) if first else None
        names = self._names.get(commit.number, [])
        if not (names or commit.state) or remaining(commit, bounds) is not commit:
            return None
        chain = _digest(self._registry.read(COMMITS, commit.number) or b"")
        for name in names:
            if (found := self._tried(lambda name=name: self._read(name, chain))) is not None:  # type: ignore[misc]
                return found
        return self._tried(lambda: _find(self._registry, str(commit.state))) if commit.state else None

    def _read(self, name: Name, chain: str) -> dict[str, Tensor] | None:
        where = self._registry.home.of(name.object)
        if name.chain != chain:
            raise RegistryError(f"{where} is of another commit {name.number} than the one that is there")
        if (data := self._registry.objects.get(name.object)) is None:
            return None  # it has been thinned
        end = data.find(END, 0, MOST_HEAD)
        if end < 0:
            raise RegistryError(f"{where} is damaged: it has no head")
        try:
            head = msgspec.json.decode(self._registry.unseal(name.object, data[:end]), type=Head)
        except msgspec.DecodeError as wrong:
            raise RegistryError(f"{where} is damaged: {wrong}") from None
        body = data[end + len(END) :]
        if head.chain != name.chain:
            raise RegistryError(f"{where} is of another commit than its name says")
        if head.digest != _digest(body):
            raise RegistryError(f"{where} is damaged: its bytes are not those that were written")
        return _unpacked(self._registry, body)

    @staticmethod
    def _tried(read: Callable[[], dict[str, Tensor] | None]) -> dict[str, Tensor] | None:
        """Return a state, or say why it is passed over."""
        try:
            return read()
        except RegistryError as wrong:
            logging.getLogger("shadowstream").warning("%s; the state before it is gone on from", wrong)
            return None


def _find(registry: Registry, digest: str) -> dict[str, Tensor] | None:
    data = registry.find(digest)
    return None if data is None else _unpacked(registry, data)


def _unpacked(registry: Registry, data: bytes) -> dict[str, Tensor]:
    return unpack(data, lambda frozen: registry.get(frozen, FROZEN))


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
