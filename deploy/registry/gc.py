"""What of a registry is kept, and for what; the learner's older states go.

Owns which states stay, and that none goes that a record names while it goes. A state's owner is the commit that names
it, never a clock: what no commit names stays, since its record may still come. Does not know tables.

What goes is first set aside under another name; then the commits are read on. A learner looks for its state once its
commit is there, and writes it again where it is gone: either it sees that, or this sees the commit and puts it back.
"""

import logging
import re
from contextlib import AbstractContextManager
from threading import Event

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from deploy.registry.beside import beside
from deploy.registry.folds import FOLDS
from deploy.registry.kinds import BLOBS, CANDIDATES, COMMITS, KINDS
from deploy.registry.log.segments import INDEX, LOG, OLD, TAIL
from deploy.registry.registry import Registry
from deploy.registry.storage.home import Where
from streams.errors import ShadowstreamError

NEAR = 4  # so many of the newest states stay; a state twice as far back is one of half as many
ASIDE = ".gone-"  # before the name of a state that is about to go
FIRST_S, EVERY_S = 3_600.0, 86_400.0
DIGEST = re.compile(rb"[0-9a-f]{64}")


class Object(Struct, frozen=True, kw_only=True):
    """Something in a registry, below its folder, its bytes, and what it is kept for; it goes where that is nothing."""

    name: str
    what: str
    size: int
    kept_for: list[str]


class Kept(Struct, frozen=True, kw_only=True):
    """What `gc --json` prints: what stays, what goes, and whether it has gone."""

    stays: list[Object]
    goes: list[Object]
    applied: bool


class _Head(Struct):
    """What is read of a commit."""

    number: int
    state: str | None = None
    due: dict[str, object] | None = None


class States:
    """The states that commits name, and what each is kept for; `read` goes on where it ended."""

    def __init__(self, registry: Registry) -> None:
        self._registry, self._decoder = registry, msgspec.json.Decoder(_Head)
        self._next, self._named = 0, list[_Head]()

    def read(self) -> dict[str, list[str]]:
        """Return the states by digest, with what each is kept for."""
        while data := self._registry.read(COMMITS, self._next):
            head = self._decoder.decode(data)
            self._next += 1
            if head.state is not None:
                self._named.append(head)
        made = {one.commit for one in self._registry.records(CANDIDATES) if not one.by}
        found: dict[str, list[str]] = {}
        for i, head in enumerate(self._named):
            for_what = found.setdefault(str(head.state), [])
            if stays(i, len(self._named) - 1):
                for_what.append(f"a rebuild from commit {head.number} on")
            if head.due is not None and head.number not in made:
                for_what.append(f"the candidate of commit {head.number}, which is due")
        return found


def stays(i: int, newest: int) -> bool:
    """Return whether the i-th state of a log stays, whose newest is the one of number `newest`.

    What is dropped once stays dropped, and a rebuild learns at most 1.65 times as much as from the nearest one.

    >>> [i for i in range(101) if stays(i, 100)]
    [0, 32, 48, 64, 72, 80, 88, 92, 94, 96, 97, 98, 99, 100]
    """
    return i == 0 or newest - i < NEAR * (i & -i)


def look(registry: Registry) -> Kept:
    """Return what stays in a registry and for what, and which states would go.

    Raises:
        RegistryError, CommitError: a commit is damaged or missing.
    """
    folders = _folders(registry)
    sizes = {name.removeprefix(ASIDE): size for name, size in folders.pop(BLOBS, {}).items()}
    states, named = States(registry).read(), _named(registry)
    found = []
    for digest, size in sorted(sizes.items()):
        kept_for = states.get(digest, []) + named.get(digest, [])
        if digest not in states and not kept_for:
            kept_for = ["no record names it yet: an engine, or one that is to come"]
        what = "state" if digest in states else "artifact or another"
        found.append(Object(name=f"{BLOBS}/{digest}", what=what, size=size, kept_for=kept_for))
    others = [_all_of(name, files) for name, files in folders.items()]
    return Kept(
        stays=others + [o for o in found if o.kept_for], goes=[o for o in found if not o.kept_for], applied=False
    )


def sweep(registry: Registry) -> Kept:
    """Delete the states that nothing needs; return what stays, and what went.

    Raises:
        RegistryError, CommitError: a commit is damaged or missing.
        RegistryUnwritable: something cannot be deleted now.
    """
    objects, aside = registry.objects, f"{BLOBS}/{ASIDE}"
    left = [name.removeprefix(aside) for name in objects.sizes() if name.startswith(aside)]
    found = look(registry)  # the commits are read after what an earlier sweep left was listed
    states, stays, gone = States(registry), found.stays, list[Object]()
    states.read()
    going = {one.name.removeprefix(f"{BLOBS}/"): one for one in found.goes}
    for digest in going:
        objects.move(f"{BLOBS}/{digest}", aside + digest)
    kept, named = states.read(), _named(registry)
    for digest in sorted({*going, *left}):
        kept_for = kept.get(digest, []) + named.get(digest, [])
        if kept_for or digest not in kept:
            objects.move(aside + digest, f"{BLOBS}/{digest}")
            stays += [replace(going[digest], kept_for=kept_for)] if digest in going else []
        else:
            objects.delete(aside + digest)
            gone += [going[digest]] if digest in going else []
    return Kept(stays=stays, goes=gone, applied=True)


def sweeping(where: Where, first_s: float = FIRST_S, every_s: float = EVERY_S) -> AbstractContextManager[None]:
    """Sweep a registry for the `with`, in a thread, after so long and then every so often."""

    def work(ended: Event) -> None:
        wait_s = first_s
        while not ended.wait(wait_s):
            wait_s = every_s
            try:
                sweep(Registry(where))
            except (ShadowstreamError, OSError) as wrong:
                logging.getLogger("shadowstream").warning("gc: %s; older states stay until it is tried again", wrong)

    return beside("gc", work)


def _named(registry: Registry) -> dict[str, list[str]]:
    """Return where digests stand in the records other than commits."""
    found: dict[str, list[str]] = {}
    for kind in KINDS:
        if kind is COMMITS:
            continue
        for name in registry.objects.list(kind.name):
            for digest in {one.decode() for one in DIGEST.findall(registry.objects.get(name) or b"")}:
                found.setdefault(digest, []).append(f"{kind.name}/{kind.number(name)}")
    return found


def _folders(registry: Registry) -> dict[str, dict[str, int]]:
    """Return the bytes of all that is there, by folder and name."""
    found: dict[str, dict[str, int]] = {}
    for path, size in registry.objects.sizes().items():
        folder, _, name = path.partition("/")
        if name:
            found.setdefault(folder, {})[name] = size
    return found


def _all_of(name: str, files: dict[str, int]) -> Object:
    """Return a folder of which everything stays."""
    for_what = "the feed: never swept"
    if name in (TAIL, LOG, OLD):
        for_what = "every rebuild, audit and verdict: it is what was learned"
    if name == FOLDS:
        for_what = "the evaluator's start: it goes on from the newest"
    if name == INDEX:
        for_what = "finding an id; each goes with its segment"
    what, size = f"{len(files)} files", sum(files.values())
    return Object(name=f"{name}/", what=what, size=size, kept_for=[for_what])
