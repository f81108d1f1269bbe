"""A copy of a registry, made while its feed goes on, that is whole at one moment.

Owns the order: what names others is read before what it names, and both before what is deleted meanwhile. Records are
listed first, so each commit that they name is there when commits are copied; commits before states. Where the log
begins is copied after commits: what is let go meanwhile is missing in the copy, and said to be. Bundles of syncs are
copied once records are listed, which move into them. A record that follows from one that is not listed yet is left out.
Does not know where the copy is kept.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from msgspec import Struct

from deploy.registry import storage
from deploy.registry.kinds import BASES, CHAMPIONS, COMMITS, KINDS, SUFFIX, Kind
from deploy.registry.log import bundles
from deploy.registry.log.bundles import VERSIONS, Bundles
from deploy.registry.log.log import Log
from deploy.registry.log.segments import LOG, OLD, TAIL, Span
from deploy.registry.registry import SECRET
from deploy.registry.seals import opened
from deploy.registry.signing import PRIVATE
from deploy.registry.storage.home import Where, at
from deploy.registry.storage.objects import Place
from streams.errors import RegistryError

RECORDS: tuple[Kind[Any], ...] = tuple(kind for kind in KINDS if kind not in (COMMITS, BASES))
COMMITTED = (OLD, TAIL, LOG)  # in the order in which a commit moves
LEFT = ("services", "embedded.json")  # of the run's own machine
OTHERS, OURS_ALONE = 0o644, 0o600  # what others may not read stays so
Places = dict[tuple[str, int], bytes]  # records' files by kind and number


class Copied(Struct, frozen=True, kw_only=True):
    """What a backup holds now: commits up to `commit` and records, and how many files and bytes were new."""

    commit: int
    records: int
    files: int
    bytes: int


def back_up(source: Where, to: Path) -> Copied:
    """Copy a feed's registry into a folder; what is there already is not copied again. Then every commit is read.

    Raises:
        RegistryError: the folder holds another feed's, or another history of this feed; or a commit is damaged.
        RegistryUnwritable: the folder takes nothing.
    """
    objects = at(source).objects
    before = _size(to)
    listed, there = _records(objects), storage.Disk(to)
    _copy_all(objects, VERSIONS, to)
    spans = bundles.outer(bundles.spans(there))
    records = whole(listed, spans)
    for (kind, number), data in records.items():
        if data:
            _copy(to / kind / f"{number:08}{SUFFIX}", data, signed=True)
    bundled = _end(there, spans, records)
    for folder in COMMITTED:
        _copy_all(objects, folder, to)
    for name in objects.list(BASES.name):
        _copy(to / name, objects.get(name) or b"", signed=True)
    for name in _others(objects):
        if (other := objects.get(name)) is not None:
            _copy(to / name, other, OURS_ALONE if name in (SECRET, PRIVATE) else OTHERS)
    after, commit = _size(to), _read(to)
    count = len(records.keys() | bundled)
    return Copied(commit=commit, records=count, files=after[0] - before[0], bytes=after[1] - before[1])


def whole(records: Places, spans: Sequence[Span] = ()) -> Places:
    """Return the records without those that follow from one that is not there, and without what follows from these.

    Commits are not looked for. Of bundled syncs, which are there by their `spans`, the last one stands for all, and is
    returned without a file where it stays.
    """

    def there(kind: str, number: int) -> tuple[str, int]:
        span = bundles.holding(spans, number) if kind == CHAMPIONS.name else None
        return kind, span.last if span else number

    follows = {place: {there(*one) for one in _follows(*place, data)} for place, data in records.items()}
    ends = {(CHAMPIONS.name, span.last): {there(CHAMPIONS.name, span.first - 1)} for span in spans}
    follows, kept = follows | ends, {*follows, *ends}
    while dropped := {place for place in kept if follows[place] - kept}:
        kept -= dropped
    return {place: records.get(place, b"") for place in follows if place in kept}


def _end(there: storage.Disk, spans: Sequence[Span], records: Places) -> set[tuple[str, int]]:
    """Have the copy's versions end where its records do, with an object of its own; return those in bundles."""
    for span in spans:
        if (CHAMPIONS.name, span.last) not in records:
            there.delete(bundles.name_of(span))
    newest = max((number for kind, number in records if kind == CHAMPIONS.name), default=0)
    versions = Bundles(there, CHAMPIONS.object)
    if there.get(CHAMPIONS.object(newest)) is None and (data := versions.read(newest)) is not None:
        there.create(CHAMPIONS.object(newest), data)
    return {(CHAMPIONS.name, number) for number in versions.numbers()}


def _follows(kind: str, number: int, data: bytes) -> Iterator[tuple[str, int]]:
    """Yield the records from which one follows: the one before it, and those that its seal names."""
    if number:
        yield kind, number - 1
    seal = opened(data)[1]
    for place in seal.follows if seal else ():
        name, _, other = place.partition("/")
        if name != COMMITS.name:
            yield name, int(other)


def _records(objects: Place) -> Places:
    found: Places = {}
    for kind in RECORDS:
        for name in objects.list(kind.name):
            if name.endswith(SUFFIX) and (data := objects.get(name)) is not None:
                found[kind.name, kind.number(name)] = data
    return found


def _copy_all(objects: Place, folder: str, to: Path) -> None:
    """Copy a folder's files, again until none has vanished: what was merged meanwhile is in another one."""
    vanished = True
    while vanished:
        vanished = False
        for name in objects.list(folder):
            if (to / name).exists():
                continue
            if (data := objects.get(name)) is None:
                vanished = True
            else:
                _copy(to / name, data)


def _copy(to: Path, data: bytes, mode: int = 0o644, *, signed: bool = False) -> None:
    to.parent.mkdir(parents=True, exist_ok=True)
    if storage.create(to, data, mode) or storage.read(to) == data:
        return
    if not signed:
        raise RegistryError(f"{to} is another one than the feed's: back up into a new folder")
    storage.replace(to, data)


def _others(objects: Place) -> Iterator[str]:
    apart = {*(kind.name for kind in RECORDS), BASES.name, VERSIONS, *COMMITTED, *LEFT}
    for name in objects.sizes():
        if name.partition("/")[0] not in apart and not name.rpartition("/")[2].startswith("."):
            yield name


def _size(folder: Path) -> tuple[int, int]:
    sizes = [path.stat().st_size for path in folder.rglob("*") if path.is_file()]
    return len(sizes), sum(sizes)


def _read(folder: Path) -> int:
    """Read every commit of the copy, each of which names the one before it, and return the newest one's number."""
    log = Log(storage.Disk(folder))
    newest = log.newest()
    for number in range(log.begins(), newest + 1):
        if log.read(number) is None:
            raise RegistryError(f"{folder} lacks commit {number}")
    return newest
