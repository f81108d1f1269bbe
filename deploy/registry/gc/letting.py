"""Old samples let go: the log begins at a later commit, and what came before is deleted.

Owns the order: `base/N` first, then what it lets go, so that a reader finds a commit or is told where the log begins,
and never a hole. Does not know which commit that is (choosing.py), or who reads.
"""

from collections.abc import Sequence
from importlib import import_module
from typing import Any, cast

from deploy.registry.commits import read
from deploy.registry.kinds import BASES
from deploy.registry.log.index import name_of
from deploy.registry.log.log import Log
from deploy.registry.log.segments import LOG, OLD, TAIL, number_of, span_of
from deploy.registry.records import Base, Described
from deploy.registry.registry import Registry
from deploy.registry.storage import Objects
from streams.errors import RegistryError


def begin_at(registry: Registry, chosen: Base) -> None:
    """Have the log begin there; nothing is deleted yet.

    Raises:
        RegistryError: the state there cannot be read, or what was written is not what is read.
    """
    if _states().Kept(registry).of(read(registry, chosen.number)) is None:
        raise RegistryError(f"{registry.home.of(chosen.state)} cannot be read, and the log does not begin there")
    registry.create(BASES, chosen.number, chosen)  # another sweep may have
    found = registry.record(BASES, chosen.number)
    if found is None or (found.chain, found.state) != (chosen.chain, chosen.state):
        raise RegistryError(f"{registry.home.of(BASES.object(chosen.number))} is not what was written")


def gone(names: Sequence[str], begins: int) -> list[str]:
    """Return which of the names of commits' objects hold only what comes before commit `begins`, oldest first.

    The newest object in `tail/` stays, by which a writer that was held up sees that it is late.

    >>> gone(["log/000000000063-000000000000", "log/000000000127-000000000064", "tail/000000000128"], 100)
    ['log/000000000063-000000000000']
    """
    sealed = {name: span_of(name).last for name in names if name.startswith(f"{LOG}/")}
    alone = {name: number_of(name) for name in names if name.startswith((f"{TAIL}/", f"{OLD}/"))}
    newest = max(alone.values(), default=-1)
    found = sealed | {name: number for name, number in alone.items() if number < newest}
    return sorted((name for name, last in found.items() if last < begins), key=lambda name: (found[name], name))


def old(objects: Objects, begins: int) -> list[str]:
    """Return the objects that hold only what comes before commit `begins`, the oldest first."""
    return gone([name for folder in (OLD, TAIL, LOG) for name in objects.list(folder)], begins) if begins else []


def let_go(objects: Objects) -> list[str]:
    """Delete what comes before the commit at which the log begins, the oldest first; return the names.

    Raises:
        RegistryUnwritable: something cannot be deleted now.
    """
    names = old(objects, Log(objects).begins())
    for name in names:
        objects.delete(name)
        if name.startswith(f"{LOG}/"):
            objects.delete(name_of(span_of(name)))
    return names


def turned(registry: Registry) -> Described | None:
    """Return the pipeline by which the log was learned again last; None if it never was."""
    return cast(Described | None, _states().turn(registry))


def _states() -> Any:
    """Return what reads states, which needs torch, as a sweep that lets nothing go does not."""
    return import_module("deploy.registry.states.kept")
