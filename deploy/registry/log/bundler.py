"""The bundler: moves syncs that served long ago into bundles, and bundles into larger ones, while all others go on.

Owns when this is done, and that nothing is deleted before what takes its place was read back. The newest objects stay:
by the last one a writer that was held up sees that it is late (`Bundles.create`). What was tested keeps its own. Any
number of bundlers do no harm, and without one only files grow. Does not know threads, or when it is called.
"""

from collections.abc import Iterator, Sequence
from itertools import groupby, pairwise

from deploy.registry.kinds import CHAMPIONS, SUFFIX
from deploy.registry.log import bundles
from deploy.registry.log.bundles import Bundle, Bundles, counts, holding, name_of, outer
from deploy.registry.log.sealer import neighbours
from deploy.registry.log.segments import Span, within
from deploy.registry.seals import opened
from deploy.registry.storage.objects import Objects

KEEPS = 64  # of the newest versions: roles that lag read on one by one
SYNCS = 64  # bundled when there are so many, or when a version has followed that was tested
MOST_TEXT = 8 << 20  # bytes, of about 10,000 syncs: a reader of one unpacks them all


class Bundler:
    """Bundles one feed's syncs; `name` and `stays` as the sealer's."""

    name, stays = "bundler", "syncs stay as they are, in champion/"

    def __init__(self, objects: Objects, *, keeps: int = KEEPS, syncs: int = SYNCS) -> None:
        self._objects, self._keeps, self._syncs = objects, keeps, syncs
        self._versions = Bundles(objects, CHAMPIONS.object)
        self._is_sync = dict[int, bool]()  # of the versions with an object of their own
        self._full, self._signed = set[Span](), set[tuple[int, Span]]()

    def step(self) -> bool:
        """Bundle what is due, else merge what is; sweep what is kept elsewhere. Return whether anything was made.

        Raises:
            RegistryError: a record or bundle is damaged.
            RegistryUnwritable: nothing can be written there now.
        """
        made = self._bundle() or self._merge()
        self._sweep()
        return made

    def _alone(self) -> list[int]:
        """Return the versions that have an object of their own, but for the newest, which stay."""
        names = [name for name in self._objects.list(CHAMPIONS.name) if name.endswith(SUFFIX)]
        return sorted(map(CHAMPIONS.number, names))[: -self._keeps]

    def _bundle(self) -> bool:
        there, alone = bundles.spans(self._objects), self._alone()
        self._is_sync = {number: was for number, was in self._is_sync.items() if number in {*alone}}
        for run in runs([number for number in alone if not holding(there, number) and self._sync(number)]):
            ended = run[-1] < alone[-1] and len(run) > 1
            if ended or len(run) >= self._syncs:
                return self._made(run)
        return False

    def _sync(self, number: int) -> bool:
        if number not in self._is_sync:
            data = self._objects.get(CHAMPIONS.object(number))
            self._is_sync[number] = data is not None and CHAMPIONS.decode(opened(data)[0]).sync_of is not None
        return self._is_sync[number]

    def _made(self, run: Sequence[int]) -> bool:
        files, size = list[bytes](), 0
        for number in run:
            data = self._versions.read(number)
            if data is None or (files and size + len(data) > MOST_TEXT):
                break
            files.append(data)
            size += len(data)
        if files:
            self._keep(run[0], files)
        return bool(files)

    def _merge(self) -> bool:
        """Merge neighbours as far as they fit together; one that does not fit with its neighbour is full."""
        for part in stretches(outer(bundles.spans(self._objects))):
            if group := neighbours(part, self._full):
                return self._merged(group)
        return False

    def _merged(self, group: Sequence[Span]) -> bool:
        files, size, count = list[bytes](), 0, 0
        for span in group:
            if (bundle := bundles.read(self._objects, span)) is None:
                return True  # another bundler has merged it: look again
            size += sum(map(len, bundle.files))
            if count and size > MOST_TEXT:
                break
            files += self._newest(bundle, group[0].first + len(files))
            count += 1
        if count > 1:
            self._keep(group[0].first, files)
        else:
            self._full.add(group[0])
        return True

    def _newest(self, bundle: Bundle, first: int) -> Iterator[bytes]:
        """Yield a bundle's files from a number on; those that were signed since are as they are now."""
        signed = {number for number, _ in self._signed}
        for number in range(first, bundle.span.last + 1):
            own = self._objects.get(CHAMPIONS.object(number)) if number in signed else None
            yield counts(own, bundle.file(number))

    def _keep(self, first: int, files: Sequence[bytes]) -> None:
        self._objects.create(name_of(Span(first, first + len(files) - 1)), bundles.pack(files))

    def _sweep(self) -> None:
        """Delete what a bundle has, and has been read from it: smaller bundles, then objects of syncs."""
        there, by = bundles.spans(self._objects), dict[Span, list[int]]()
        for span, holder in within(there).items():
            if bundles.read(self._objects, holder):
                self._objects.delete(name_of(span))
        kept = outer(there)
        for number in self._alone():
            found = holding(kept, number)
            if found and (number, found) not in self._signed:
                by.setdefault(found, []).append(number)
        for holder, numbers in by.items():
            if bundle := bundles.read(self._objects, holder):
                for number in numbers:
                    self._drop(number, bundle)

    def _drop(self, number: int, bundle: Bundle) -> None:
        """Delete a version's own object, unless it is the same record with another signature, which counts."""
        own, bundled = self._objects.get(CHAMPIONS.object(number)), bundle.file(number)
        if own not in (None, bundled) and counts(own, bundled) == own:
            self._signed.add((number, bundle.span))
        else:
            self._objects.delete(CHAMPIONS.object(number))


def runs(numbers: Sequence[int]) -> list[list[int]]:
    """Return the runs of numbers that follow each other.

    >>> runs([1, 2, 3, 7, 8])
    [[1, 2, 3], [7, 8]]
    """
    return [[n for _, n in run] for _, run in groupby(enumerate(numbers), key=lambda one: one[1] - one[0])]


def stretches(spans: Sequence[Span]) -> list[list[Span]]:
    """Return the stretches of spans without a number between.

    >>> stretches([Span(1, 64), Span(65, 99), Span(101, 164)])
    [[Span(first=1, last=64), Span(first=65, last=99)], [Span(first=101, last=164)]]
    """
    found = [[*spans[:1]]] if spans else []
    for before, span in pairwise(spans):
        if span.first > before.last + 1:
            found.append([])
        found[-1].append(span)
    return found
