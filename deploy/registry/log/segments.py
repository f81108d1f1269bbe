"""Commits as lines: what is checked of each, and many of them in one segment.

A commit's line is its JSON, byte for byte. A segment is one frame: a header's line, then the commits' lines. Each names
the SHA-256 of the line before, and whatever is read is checked against that. Owns names, header and checks. Does not
know where objects are, or what else a commit holds.
"""

import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise
from typing import Any, NamedTuple

import msgspec
from msgspec import Struct

from deploy.registry.log import frames
from streams.errors import RegistryError

TAIL, LOG, INDEX = "tail", "log", "index"
BASE = "base"  # `base/00000100.json`: the log begins at commit 100
OLD = "commits"  # `commits/00000000.json` is how earlier releases kept a commit
FORMAT = 1
END = b"\n"


class Link(Struct, frozen=True):
    """What ties a line to the one before: its own number, and that one's digest."""

    number: int
    parent: str


class _Told(Link, frozen=True):
    """What a header tells of a commit besides."""

    learned: int = 0
    positions: dict[str, str] = {}
    due: dict[str, Any] | None = None
    void: dict[str, str] = {}
    quarantined: list[Any] = []


class Header(Struct, frozen=True, kw_only=True):
    """A segment's first line.

    `first`, `last`: the numbers of its commits. `sizes`: how many bytes each has. `parent` is the digest of the commit
    before the first, `chain` that of the last; `learned` and `positions` are the last one's. `dues`, `voids`,
    `quarantines`: which commits have some.
    """

    format: int = FORMAT
    first: int
    last: int
    parent: str
    chain: str
    learned: int
    positions: Mapping[str, str]
    dues: list[int]
    voids: list[int]
    quarantines: list[int]
    sizes: list[int]


class Span(NamedTuple):
    """The numbers of a segment's commits, `first` to `last`."""

    first: int
    last: int

    @property
    def name(self) -> str:
        """The object's name: the last number comes first, so that the first name from n on may hold commit n.

        >>> Span(0, 63).name
        'log/000000000063-000000000000'
        """
        return f"{LOG}/{self.last:012}-{self.first:012}"

    @property
    def size(self) -> int:
        """How many commits there are."""
        return self.last - self.first + 1


@dataclass(frozen=True)
class Segment:
    """A segment that was read and checked; `ends` are where its lines end in `text`, the header's first."""

    span: Span
    header: Header
    text: bytes
    ends: list[int]

    def line(self, number: int) -> bytes:
        """Return a commit that it holds."""
        at = number - self.span.first
        return self.text[self.ends[at] : self.ends[at + 1] - len(END)]

    def lines(self, first: int) -> Iterator[bytes]:
        """Yield the commits from a number on."""
        return (self.line(number) for number in range(first, self.span.last + 1))


def tail_name(number: int) -> str:
    """Return the name of a commit's own object."""
    return f"{TAIL}/{number:012}"


def old_name(number: int) -> str:
    """Return the name of a commit as earlier releases kept it."""
    return f"{OLD}/{number:08}.json"


def number_of(name: str) -> int:
    """Return the number of a commit with an object of its own.

    Raises:
        RegistryError: that is no name of one.
    """
    if not (found := re.fullmatch(rf"(?:{TAIL}/(\d{{12,}})|{OLD}/(\d{{8,}})\.json)", name)):
        raise RegistryError(f"{name} is no name of a commit: something else has put it there")
    return int(found[1] or found[2])


def begins(names: Sequence[str]) -> int:
    """Return the commit at which the log begins, by the names in `base/`; 0 where nothing was let go.

    >>> begins([]), begins(["base/00000064.json", "base/00000100.json"])
    (0, 100)
    """
    found = (re.fullmatch(rf"{BASE}/(\d+)\.json", name) for name in names)
    return max((int(one[1]) for one in found if one), default=0)


def span_of(name: str) -> Span:
    """Return the span that a segment's name tells.

    Raises:
        RegistryError: that is no name of a segment.
    """
    found = re.fullmatch(rf"{LOG}/(\d{{12,}})-(\d{{12,}})", name)
    if not found or int(found[2]) > int(found[1]):
        raise RegistryError(f"{name} is no name of a segment: something else has put it there")
    return Span(int(found[2]), int(found[1]))


def within(spans: Sequence[Span]) -> dict[Span, Span]:
    """Return the segments that lie within another one, with it.

    >>> within([Span(0, 63), Span(0, 70), Span(64, 99)])
    {Span(first=0, last=63): Span(first=0, last=70)}
    """
    found: dict[Span, Span] = {}
    widest: Span | None = None
    for span in sorted(spans, key=lambda one: (-one.last, one.first)):
        if widest and widest.first <= span.first:
            found[span] = widest
        else:
            widest = span
    return found


def digest(line: bytes | memoryview) -> str:
    """Return the digest by which the next commit names a line."""
    return hashlib.sha256(line).hexdigest()


def link(name: str, line: bytes | memoryview, number: int) -> Link:
    """Return what ties a line to the one before, `name` being that of its object.

    Raises:
        RegistryError: it is no commit, or another one.
    """
    try:
        found = _link(line)
    except (msgspec.DecodeError, UnicodeDecodeError) as wrong:
        raise RegistryError(f"{name} is damaged: commit {number} cannot be read: {wrong}") from None
    if found.number != number:
        raise RegistryError(f"{name} is damaged: it has commit {found.number} in the place of {number}")
    return found


def pack(lines: Sequence[bytes]) -> tuple[Span, bytes]:
    """Return a segment of commits that follow each other.

    Raises:
        RegistryError: one does not follow the one before it.
    """
    told = [_told(line) for line in lines]
    digests = [digest(line) for line in lines]
    span = Span(told[0].number, told[-1].number)
    _check_chain(span.name, told, digests)
    header = Header(
        first=span.first, last=span.last, parent=told[0].parent, chain=digests[-1], learned=told[-1].learned,
        positions=told[-1].positions, dues=[one.number for one in told if one.due],
        voids=[one.number for one in told if one.void], quarantines=[one.number for one in told if one.quarantined],
        sizes=[*map(len, lines)],
    )  # fmt: skip
    text = END.join((msgspec.json.encode(header), *lines, b""))
    return span, frames.pack(text, frames.SMALL)


def unpack(name: str, frame: bytes) -> Segment:
    """Return the segment of that name.

    Raises:
        RegistryError: it is damaged or another one, and the message names it.
    """
    span, text = span_of(name), frames.unpack(name, frame)
    head = text.find(END) + len(END)
    header = _header(name, text[:head])
    if (header.first, header.last) != span:
        raise RegistryError(f"{name} is damaged: it has commits {header.first} to {header.last}")
    ends = [*accumulate((size + len(END) for size in header.sizes), initial=head)]
    if len(header.sizes) != span.size or ends[-1] != len(text):
        raise RegistryError(f"{name} is damaged: its lines are not as long as its header says")
    view = memoryview(text)
    lines = [view[start : end - len(END)] for start, end in pairwise(ends)]
    links = [link(name, line, number) for number, line in enumerate(lines, span.first)]
    digests = [digest(line) for line in lines]
    _check_chain(name, links, digests)
    if (header.parent, header.chain) != (links[0].parent, digests[-1]):
        raise RegistryError(f"{name} is damaged: its header is not that of its commits")
    return Segment(span, header, text, ends)


def _header(name: str, line: bytes) -> Header:
    try:
        if (found := _format(line).format) != FORMAT:
            raise RegistryError(f"{name} has format {found}; this version reads {FORMAT}: go on with a newer one")
        return _decode(line)
    except msgspec.DecodeError as wrong:
        raise RegistryError(f"{name} is damaged: its header cannot be read: {wrong}") from None


def _check_chain(name: str, links: Sequence[Link], digests: Sequence[str]) -> None:
    for before, (one, next_one) in zip(digests, pairwise(links), strict=False):
        if (next_one.number, next_one.parent) != (one.number + 1, before):
            raise RegistryError(
                f"{name} is damaged: commit {next_one.number} names another commit before it than {one.number} there"
            )


class _Format(Struct, frozen=True):
    format: int


_link = msgspec.json.Decoder(Link).decode
_told = msgspec.json.Decoder(_Told).decode
_format = msgspec.json.Decoder(_Format).decode
_decode = msgspec.json.Decoder(Header).decode
