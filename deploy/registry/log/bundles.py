"""Syncs by number: new ones have an object each, `champion/N.json`, those of long before one for many, a bundle.

A bundle, `versions/LAST-FIRST`, has the files of versions that follow each other, byte for byte, as they were signed.
What was tested is in none. Owns a bundle's name and bytes, and which of two files of one number counts. Does not know
how files come into bundles (`bundler.py`), or what is in them but that a signature follows the record.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import msgspec

from deploy.registry.log import frames
from deploy.registry.log.segments import LOG, Span, span_of, within
from deploy.registry.seals import opened
from deploy.registry.storage.objects import Objects
from streams.errors import RegistryError

VERSIONS = "versions"
TRIES = 8  # a bundle may be merged into another between a listing and its reading
ASKS = 64  # a role asks for the next version every few ms, and one that was bundled is seen within a second


@dataclass(frozen=True)
class Bundle:
    """The files of the versions of a span."""

    span: Span
    files: Sequence[bytes]

    def file(self, number: int) -> bytes:
        """Return that of a version which it holds."""
        return self.files[number - self.span.first]


def name_of(span: Span) -> str:
    """Return a bundle's name.

    >>> name_of(Span(1, 64))
    'versions/000000000064-000000000001'
    """
    return VERSIONS + span.name.removeprefix(LOG)


def spans(objects: Objects, number: int = 0) -> list[Span]:
    """Return the spans of bundles that end at a number or later, by their ends.

    Raises:
        RegistryError: something else is there.
    """
    names = objects.list(VERSIONS, f"{VERSIONS}/{number:012}")
    return [span_of(LOG + name.removeprefix(VERSIONS)) for name in names]


def outer(found: Sequence[Span]) -> list[Span]:
    """Return the spans, in their order, that are not within another one.

    >>> outer([Span(1, 64), Span(1, 99), Span(101, 164)])
    [Span(first=1, last=99), Span(first=101, last=164)]
    """
    inner = within(found)
    return [span for span in found if span not in inner]


def holding(found: Sequence[Span], number: int) -> Span | None:
    """Return the first of some spans that has a number."""
    return next((span for span in found if span.first <= number <= span.last), None)


def pack(files: Sequence[bytes]) -> bytes:
    """Return the bytes of a bundle."""
    return frames.pack(msgspec.msgpack.encode(files), frames.SMALL)


def read(objects: Objects, span: Span) -> Bundle | None:
    """Return a bundle, None if there is none.

    Raises:
        RegistryError: it is damaged.
    """
    name = name_of(span)
    if (data := objects.get(name)) is None:
        return None
    try:
        files = msgspec.msgpack.decode(frames.unpack(name, data), type=list[bytes])
    except msgspec.DecodeError as wrong:
        raise RegistryError(f"{name} is damaged: {wrong}") from None
    if len(files) != span.size:
        raise RegistryError(f"{name} is damaged: it has {len(files)} versions in the place of {span.size}")
    return Bundle(span, files)


def counts(own: bytes | None, bundled: bytes) -> bytes:
    """Return which of two files of one number counts: what was bundled, unless its own is that record, signed since.

    Another record was created by a writer that was held up.
    """
    return own if own is not None and opened(own)[0] == opened(bundled)[0] else bundled


class Bundles:
    """A feed's versions. One thread has it; `own` names the object that a version has of its own."""

    def __init__(self, objects: Objects, own: Callable[[int], str]) -> None:
        self._objects, self._own = objects, own
        self._held: Bundle | None = None
        self._missing, self._asks = -1, 0

    def numbers(self) -> set[int]:
        """Return the numbers of the versions that are in bundles."""
        return {number for span in outer(spans(self._objects)) for number in range(span.first, span.last + 1)}

    def create(self, number: int, data: bytes) -> bool:
        """Create a version's file durably, or return False because that number has another one.

        The newest object is never deleted. So where none comes after this one, its number was never bundled; else it
        may have been, and its object deleted, while this writer was held up, and what was bundled counts.
        """
        self._missing = -1
        created, own = self._objects.create(self._own(number), data), self._own(number)
        return created and (not self._objects.list(own.partition("/")[0], own) or self.read(number) == data)

    def read(self, number: int) -> bytes | None:
        """Return a version's file, None if there is none of that number yet.

        Raises:
            RegistryError: a bundle is damaged.
        """
        own = self._objects.get(self._own(number))
        if own is None and self._asked_again(number):
            return None
        for _ in range(TRIES):
            if (span := holding(spans(self._objects, number), number)) is None:
                self._missing = number if own is None else self._missing
                return own
            if bundle := self._bundle(span):
                self._missing = -1
                return counts(own, bundle.file(number))
        raise RegistryError(f"{VERSIONS}/ lists a bundle with version {number}, which cannot be read")

    def _asked_again(self, number: int) -> bool:
        """Return whether a version that was not there is asked for again, and bundles are not looked at each time."""
        self._asks = self._asks + 1 if number == self._missing else 0
        return self._asks % ASKS > 0

    def _bundle(self, span: Span) -> Bundle | None:
        if self._held is None or self._held.span != span:
            self._held = read(self._objects, span)
        return self._held
