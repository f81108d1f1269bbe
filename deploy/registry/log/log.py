"""The commits of a feed by number: new ones have an object each, `tail/N`, sealed ones a line of `log/LAST-FIRST`.

Owns when a commit counts, where one is, and where the log begins: commits of before were let go, and none of them is
read as missing. Each is checked when it is read: the frame's checksum, its number, and that
the commits on both sides are those that name it and that it names, as far as this reader has seen them. Does not know
how commits come into segments (`sealer.py`).
"""

from deploy.registry.log import frames, segments
from deploy.registry.log.segments import (
    BASE,
    LOG,
    OLD,
    TAIL,
    Segment,
    begins,
    digest,
    link,
    number_of,
    old_name,
    span_of,
    tail_name,
)
from deploy.registry.storage import Objects
from streams.errors import CommitError, LetGo, RegistryError

MOST_LINE = frames.MOST_BYTES - (1 << 20)  # bytes: a segment of this one commit has a header besides
TRIES = 8  # a segment may be merged into another between a listing and its reading
LINKS = 4_096  # digests that are remembered
ASKS = 64  # a role asks for the next commit every 5 ms, and one that is missing is seen within a third of a second


class Log:
    """A feed's commits. One thread has it; others, and other processes, have their own of the same objects."""

    def __init__(self, objects: Objects) -> None:
        self._objects = objects
        self._segment: Segment | None = None
        self._links: dict[int, str] = {}
        self._asked, self._asks = -1, 0

    def newest(self) -> int:
        """Return the highest number of a commit, -1 if there is none."""
        names = self._objects.list(TAIL) or self._objects.list(OLD)
        return max(number_of(names[-1]) if names else -1, self.sealed())

    def sealed(self) -> int:
        """Return the highest number of a commit in a segment, -1 if there is none."""
        names = self._objects.list(LOG)
        return span_of(names[-1]).last if names else -1

    def begins(self) -> int:
        """Return the number of the first commit: 0, or a later one where old samples were let go."""
        return begins(self._objects.list(BASE))

    def create(self, number: int, line: bytes) -> bool:
        """Create a commit durably, or return False because that number has another one.

        The newest object in `tail/` is never deleted. So where none comes after this one, its number was never sealed,
        and the commit counts; else the number may have been sealed and its object deleted long ago, while this writer
        was held up, and what was sealed counts.

        Raises:
            RegistryUnwritable: nothing can be written there now.
            CommitError: it is larger than what is read.
        """
        if len(line) > MOST_LINE:
            raise CommitError(f"commit {number} has {len(line):,} bytes, and {MOST_LINE:,} is the most")
        self._segment = None  # who writes has read
        return self._put(number, line) and (not self._above(number) or self.read(number) == line)

    def read(self, number: int) -> bytes | None:
        """Return a commit's JSON, None if there is none of that number yet.

        Raises:
            LetGo: the log begins at a later commit, and this one is gone.
            RegistryError: it is damaged or missing; the message names the object.
        """
        if (held := self._segment) and held.span.first <= number <= held.span.last:
            return held.line(number)
        self._asked, self._asks = number, self._asks + 1 if number == self._asked else 0
        for _ in range(TRIES):
            line, sealed = self._found(number)
            if line is not None:
                return line
            if not sealed and (self._asks % ASKS or number > self.newest()):
                return None
        raise RegistryError(f"{tail_name(number)} is missing, and no segment in {LOG}/ holds commit {number}")

    def place(self, number: int) -> str:
        """Return the name of the object that holds a commit now."""
        if name := _holding(self._sealed_from(number), number):
            return name
        return old_name(number) if self._objects.get(tail_name(number)) is None else tail_name(number)

    def _put(self, number: int, line: bytes) -> bool:
        """Create a commit's object; a refusal is no answer yet, as the same bytes may be there from this very call."""
        name = tail_name(number)
        for _ in range(TRIES):
            if self._objects.create(name, frames.pack(line, frames.FAST)):
                return True
            if (found := self._objects.get(name)) is not None:
                return frames.unpack(name, found) == line
        raise RegistryError(f"{name} can neither be created nor read")

    def _above(self, number: int) -> list[str]:
        return self._objects.list(TAIL, tail_name(number))

    def _found(self, number: int) -> tuple[bytes | None, bool]:
        """Return a commit where one is found, and whether it is sealed; a segment may have been merged just now.

        What is sealed counts, and is looked for last: it may have been sealed and deleted just before, and another one
        been created by a writer that was held up. Where later ones are sealed, and this one is not, it was let go.
        """
        name, data = self._alone(number)
        later = self._sealed_from(number)
        if sealed := _holding(later, number):
            return self._of_segment(sealed, number), True
        if later and number < (first := self.begins()):
            raise LetGo(f"{BASE}/{first:08}.json: the log begins there, and commit {number} was let go")
        return None if data is None else self._own(name, number, data), False

    def _alone(self, number: int) -> tuple[str, bytes | None]:
        name = tail_name(number)
        if (data := self._objects.get(name)) is None:
            name = old_name(number)
            data = self._objects.get(name)
        return name, data

    def _own(self, name: str, number: int, data: bytes) -> bytes:
        line = frames.unpack(name, data) if name != old_name(number) else data
        self._check(name, number, link(name, line, number).parent, number, digest(line))
        self._segment = None
        return line

    def _of_segment(self, name: str, number: int) -> bytes | None:
        if (data := self._objects.get(name)) is None:
            return None
        segment = segments.unpack(name, data)
        self._check(name, segment.span.first, segment.header.parent, segment.span.last, segment.header.chain)
        self._segment = segment
        return segment.line(number)

    def _sealed_from(self, number: int) -> list[str]:
        """Return the segments that end at a commit or later, in their order."""
        return self._objects.list(LOG, f"{LOG}/{number:012}")

    def _check(self, name: str, first: int, parent: str, last: int, chain: str) -> None:
        """Check that an object's first commit names the one before it, and that the one after it names its last."""
        for number, found, other in ((last, chain, last + 1), (first - 1, parent, first - 1)):
            if number >= 0 and self._links.setdefault(number, found) != found:
                text = f"is damaged: commit {number + 1} names another one than commit {number}"
                raise RegistryError(f"{name} or {self.place(other)} {text}")
        while len(self._links) > LINKS:
            del self._links[next(iter(self._links))]


def _holding(names: list[str], number: int) -> str | None:
    """Return the first of some segments that holds a commit."""
    return next((name for name in names if span_of(name).first <= number), None)
