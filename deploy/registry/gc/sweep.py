"""What of a registry stays and what goes; the sweep of what goes, once, or now and then beside a run.

Owns that nothing goes that a record names while it goes. What a record names has an owner, never an age: what none
names stays at first, since its record may still come, and goes where two sweeps of a run, an hour apart at least, have
seen it so. Does not know what things are kept for (`needs.py`), or tables.

What goes is first set aside under another name, by which it is still read; then the records are read on. Who names a
blob looks for it once the record is there, and writes it again where it is gone: either they see that, or this sees the
record and puts it back.
"""

import logging
from collections.abc import Callable, Set
from contextlib import AbstractContextManager, suppress
from threading import Event

from msgspec import Struct
from msgspec.structs import replace

from deploy.registry.beside import beside
from deploy.registry.commits import base
from deploy.registry.folds import FOLDS
from deploy.registry.gc import choosing, letting
from deploy.registry.gc.choosing import Keeping
from deploy.registry.gc.heads import Heads
from deploy.registry.gc.needs import Need, Needs
from deploy.registry.kinds import ASIDE, BASES, BLOBS, FROZEN
from deploy.registry.log.bundles import VERSIONS
from deploy.registry.log.segments import BASE, INDEX, LOG, OLD, TAIL
from deploy.registry.registry import Registry
from deploy.registry.states.names import STATES, of
from deploy.registry.storage.disk import tidy
from deploy.registry.storage.home import Where
from streams.errors import ShadowstreamError

FIRST_S, EVERY_S = 3_600.0, 86_400.0
NOT_OURS = "nothing knows what it is"
OLD_SAMPLES = "old samples"
NOBODY = "no record names it yet: it goes where a run's next sweep finds it so again"


class Object(Struct, frozen=True, kw_only=True):
    """Something in a registry, below its folder, its bytes, and what it is kept for; it goes where that is nothing."""

    name: str
    what: str
    size: int
    kept_for: list[str]


class Letting(Struct, frozen=True, kw_only=True):
    """What becomes of old samples: the log `begins` at that commit, or will; `samples` before it have gone, or go.

    At least the newest `keeps` stay. `why` says what keeps the log from beginning later, "" where it will.
    """

    keeps: int
    begins: int
    samples: int
    why: str

    @property
    def line(self) -> str:
        """All of it as one line."""
        begins = f"the log begins at commit {self.begins}, {self.samples:,} samples before it are let go"
        if not self.begins:
            begins = "no sample was let go"
        return f"registry.keep_samples = {self.keeps}: {begins}" + (f"; no more are: {self.why}" if self.why else "")


class Kept(Struct, frozen=True, kw_only=True):
    """What `gc --json` prints: what stays, what goes, and whether it has gone.

    `letting` is there where old samples are let go.
    """

    stays: list[Object]
    goes: list[Object]
    applied: bool
    letting: Letting | None = None


def look(registry: Registry, before: Set[str] = frozenset(), keeping: Keeping | None = None) -> Kept:
    """Return what stays in a registry and for what, and what would go.

    A blob that no record names goes if it is one of those that were there `before`, by digest. With `keeping`, old
    samples go.

    Raises:
        RegistryError, CommitError: a commit is damaged or missing.
    """
    heads = Heads()
    found, _ = _looked(registry, before, heads)
    if keeping is None:
        return found
    chosen = choosing.choose(registry, keeping, heads.read(registry))
    begins, sizes = chosen.base.number if chosen.base else registry.begins(), registry.objects.sizes()
    if chosen.base:
        found = _once_it_begins(registry, found, begins)
    return replace(
        found,
        goes=[_old(name, sizes.get(name, 0)) for name in letting.old(registry.objects, begins)] + found.goes,
        letting=_letting(registry, keeping, chosen),
    )


def _once_it_begins(registry: Registry, found: Kept, begins: int) -> Kept:
    """Return a look once the log begins at a commit: states of before go, but that at which it began last."""
    last = [registry.record(BASES, number) for number in registry.numbers(BASES)[-1:]]
    stay, goes = {one.state for one in last if one}, list[Object]()
    for one in found.stays:
        state = of(one.name) if one.name.startswith(f"{STATES}/") else None
        if state and state.number < begins and one.name not in stay:
            goes.append(replace(one, what="state of a commit that is let go", kept_for=[]))
    gone = {one.name for one in goes}
    return replace(found, stays=[one for one in found.stays if one.name not in gone], goes=goes + found.goes)


def _let_go(registry: Registry, keeping: Keeping | None, heads: Heads) -> tuple[list[Object], Letting | None]:
    """Have the log begin later, if it may, and delete what comes before; return what went."""
    told = None
    if keeping is not None:
        chosen = choosing.choose(registry, keeping, heads.read(registry))
        if chosen.base:
            letting.begin_at(registry, chosen.base)
        told = _letting(registry, keeping, chosen)
    sizes = registry.objects.sizes() if registry.begins() else {}
    return [_old(name, sizes.get(name, 0)) for name in letting.let_go(registry.objects)], told


def _letting(registry: Registry, keeping: Keeping, chosen: choosing.Chosen) -> Letting:
    at = chosen.base or base(registry)
    return Letting(
        keeps=keeping.samples, begins=at.number if at else 0, samples=at.samples if at else 0, why=chosen.why
    )


def _old(name: str, size: int) -> Object:
    return Object(name=name, what=OLD_SAMPLES, size=size, kept_for=[])


def _looked(registry: Registry, before: Set[str], heads: Heads) -> tuple[Kept, Needs]:
    folders = _folders(registry)
    sizes = {name.removeprefix(ASIDE): size for name, size in folders.pop(BLOBS, {}).items()}
    states = folders.pop(STATES, {})
    needs, found = Needs(registry, sizes, [f"{STATES}/{name}" for name in states], heads), list[Object]()
    read = needs.read()
    for name, size in states.items():
        need = read.get(f"{STATES}/{name}") or Need("no state", [NOT_OURS])
        found.append(Object(name=f"{STATES}/{name}", what=need.what, size=size, kept_for=need.kept_for))
    for digest, size in sorted(sizes.items()):
        need = read.get(digest) or Need("of nobody", [] if digest in before else [NOBODY])
        found.append(Object(name=f"{BLOBS}/{digest}", what=need.what, size=size, kept_for=need.kept_for))
    others = [_all_of(name, files) for name, files in folders.items()]
    kept, goes = [o for o in found if o.kept_for], [o for o in found if not o.kept_for]
    return Kept(stays=others + kept, goes=goes, applied=False), needs


def sweep(
    registry: Registry,
    before: Set[str] = frozenset(),
    keeping: Keeping | None = None,
    heads: Heads | None = None,
) -> Kept:
    """Delete what nothing needs; return what stays, and what went. `before` and `keeping` as in `look`.

    `heads` are what an earlier sweep of this registry has read of its commits, which is then read on.

    Raises:
        RegistryError, CommitError: a commit is damaged or missing.
        RegistryUnwritable: something cannot be deleted now.
    """
    objects, aside = registry.objects, f"{BLOBS}/{ASIDE}"
    left = [name.removeprefix(aside) for name in objects.sizes() if name.startswith(aside)]
    heads = heads or Heads()
    gone, told = _let_go(registry, keeping, heads)
    found, needs = _looked(registry, before, heads)  # records are read after what an earlier sweep left was listed
    stays = found.stays
    going = {one.name.removeprefix(f"{BLOBS}/"): one for one in found.goes if one.name.startswith(f"{BLOBS}/")}
    for one in found.goes:
        if one.name.startswith(f"{STATES}/"):  # no record names it, and none of what comes needs it again
            objects.delete(one.name)
            gone.append(one)
    for digest in going:
        objects.move(f"{BLOBS}/{digest}", aside + digest)
    read = needs.read()
    for digest in sorted({*going, *left}):
        need = read.get(digest) or Need("", [] if digest in going else [NOBODY])
        if need.kept_for:
            objects.move(aside + digest, f"{BLOBS}/{digest}")
            stays += [replace(going[digest], kept_for=need.kept_for)] if digest in going else []
        else:
            objects.delete(aside + digest)
            gone += [going[digest]] if digest in going else []
    tidy(registry.folder)
    return Kept(stays=stays, goes=gone, applied=True, letting=told)


def sweeping(
    where: Where,
    first_s: float = FIRST_S,
    every_s: float = EVERY_S,
    keeping: Keeping | None = None,
    opened: Callable[[], Registry] | None = None,
    say: Callable[[str], None] | None = None,
) -> AbstractContextManager[None]:
    """Sweep a registry for the `with`, in a thread, after so long and then every so often; `keeping` as in `look`.

    `opened` opens it with the key that signs where its log begins, and `say` is told when it begins later.
    """

    def work(ended: Event) -> None:
        wait_s, before, heads = first_s, _blobs(where), Heads()
        while not ended.wait(wait_s):
            wait_s, there = every_s, _blobs(where)
            try:
                swept = sweep(opened() if opened else Registry(where), before, keeping, heads)
                before = there
                if say and swept.letting and any(one.what == OLD_SAMPLES for one in swept.goes):
                    say(f"gc: {swept.letting.line}")
            except (ShadowstreamError, OSError) as wrong:
                logging.getLogger("shadowstream").warning("gc: %s; what is old stays until it is tried again", wrong)

    return beside("gc", work)


def _blobs(where: Where) -> frozenset[str]:
    """Return the digests of the blobs that are there; none where they cannot be listed now."""
    with suppress(ShadowstreamError, OSError):
        return frozenset(name.rpartition("/")[2] for name in Registry(where).objects.list(BLOBS))
    return frozenset()


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
    if name == VERSIONS:
        for_what = "every answer that a sync has given: it says what that was"
    if name == BASE:
        for_what = "every reader of the log: it says where that begins"
    if name == FOLDS:
        for_what = "the evaluator's start: it goes on from the newest"
    if name == FROZEN:
        for_what = "every state: it does not learn"
    if name == INDEX:
        for_what = "finding an id; each goes with its segment"
    what, size = f"{len(files)} files", sum(files.values())
    return Object(name=f"{name}/", what=what, size=size, kept_for=[for_what])
