"""The sealer: moves commits into segments, and segments into larger ones, while all others go on.

Owns when this is done, and that nothing is deleted before what takes its place was read back. The newest commit keeps
an object of its own: by it a writer that was held up sees that it is late (`Log.create`). Any number of sealers do no
harm, and without one only files grow. Does not know threads, or when it is called.
"""

import time
from collections.abc import Callable, Collection, Sequence

from deploy.registry.log import index, segments
from deploy.registry.log.log import Log
from deploy.registry.log.segments import INDEX, LOG, OLD, TAIL, Segment, Span, number_of, span_of, within
from deploy.registry.storage import Objects

COMMITS, AGE_S = 64, 600.0  # sealed when there are so many, or when one has waited so long
NEIGHBOURS, MOST_TEXT = 8, 64 << 20


class Sealer:
    """Seals one feed's commits; `clock` tells seconds. Where it fails, that is said by its `name`, and what `stays`."""

    name, stays = "sealer", "commits stay as they are, in tail/"

    def __init__(
        self, objects: Objects, *, commits: int = COMMITS, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._objects, self._commits, self._clock = objects, commits, clock
        self._log = Log(objects)
        self._waits = (-1, 0.0)  # the first commit that waits, and since when
        self._full: set[Span] = set()

    def step(self) -> bool:
        """Seal what is due, else merge what is; sweep what is kept elsewhere. Return whether anything was made.

        Raises:
            RegistryError: a commit or segment is damaged or missing.
            RegistryUnwritable: nothing can be written there now.
        """
        made = self._seal() or self._merge()
        self._sweep()
        return made

    def _seal(self) -> bool:
        first, newest = self._log.sealed() + 1, max(self._alone(), default=-1)
        waiting = newest - first
        if self._waits[0] != first:
            self._waits = (first, self._clock())
        if waiting < 1 or (waiting < self._commits and self._clock() - self._waits[1] < AGE_S):
            return False
        if first:
            self._log.read(first - 1)  # so that the first one is checked against it
        lines, size = list[bytes](), 0
        for number in range(first, newest):
            line = self._log.read(number)
            if line is None or (lines and size + len(line) > MOST_TEXT):
                break
            lines.append(line)
            size += len(line)
        self._log.read(first + len(lines))  # which names the last one
        return self._made(lines)

    def _merge(self) -> bool:
        """Merge neighbours as far as they fit together; one that does not fit with its neighbour is full."""
        group = neighbours(self._spans(), self._full)
        lines, size = list[bytes](), 0
        parts = list[Span]()
        for span in group:
            if (segment := self._read(span)) is None:
                return True  # another sealer has merged it: look again
            size += sum(segment.header.sizes)
            if parts and size > MOST_TEXT:
                break
            lines += segment.lines(parts[-1].last + 1 if parts else span.first)
            parts.append(span)
        if len(parts) == 1:
            self._full.add(parts[0])
        return self._made(lines) if len(parts) > 1 else bool(group)

    def _made(self, lines: Sequence[bytes]) -> bool:
        if lines:
            span, data = segments.pack(lines)
            self._objects.create(span.name, data)
            self._objects.create(index.name_of(span), index.pack(lines))
        return bool(lines)

    def _sweep(self) -> None:
        """Delete what a segment has, and has been read from it: commits' objects but the newest, smaller segments."""
        spans, alone = [*map(span_of, self._objects.list(LOG))], self._alone()
        by: dict[Span, list[str]] = {}
        for number in sorted(alone)[:-1]:
            if holder := next((span for span in reversed(spans) if span.first <= number <= span.last), None):
                by.setdefault(holder, []).append(alone[number])
        for span, holder in within(spans).items():
            by.setdefault(holder, []).append(span.name)
        for holder, names in by.items():
            if self._read(holder):
                for name in names:
                    self._objects.delete(name)
        kept = {index.name_of(span) for span in map(span_of, self._objects.list(LOG))}
        for name in self._objects.list(INDEX):
            if name not in kept:
                self._objects.delete(name)

    def _alone(self) -> dict[int, str]:
        """Return the names of the commits that have an object of their own, by number."""
        return {number_of(name): name for name in [*self._objects.list(OLD), *self._objects.list(TAIL)]}

    def _spans(self) -> list[Span]:
        """Return the segments that are not within another, without those that are let go."""
        spans, begins = [*map(span_of, self._objects.list(LOG))], self._log.begins()
        inner = within(spans)
        return [span for span in spans if span not in inner and span.last >= begins]

    def _read(self, span: Span) -> Segment | None:
        data = self._objects.get(span.name)
        return None if data is None else segments.unpack(span.name, data)


def neighbours(spans: Sequence[Span], full: Collection[Span] = ()) -> Sequence[Span]:
    """Return which segments to merge: small ones with a larger one that follows them, else eight of a size.

    Sizes are alike where the numbers of commits have the same logarithm to base 8, rounded down. What precedes a full
    segment was merged before.

    >>> neighbours([Span(0, 63), Span(64, 66), Span(67, 130)])
    [Span(first=64, last=66), Span(first=67, last=130)]
    """
    begin = max((at + 1 for at, span in enumerate(spans) if span in full), default=0)
    part = spans[begin:]
    sizes = [(span.size.bit_length() - 1) // 3 for span in part]
    for at in range(len(part) - 1, 0, -1):
        start = at
        while start and sizes[start - 1] < sizes[at]:
            start -= 1
        if start < at:
            return part[start : at + 1]
        if at >= NEIGHBOURS - 1 and len({*sizes[at - NEIGHBOURS + 1 : at + 1]}) == 1:
            return part[at - NEIGHBOURS + 1 : at + 1]
    return []
