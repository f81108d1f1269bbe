"""What a person orders of a pipeline's versions: promote, roll back, pause, resume. The conductor obeys, once.

Owns which orders make sense now. Does not know how one is carried out.
"""

import getpass
import time
from pathlib import Path
from typing import Literal, TypeAlias

from deploy.config import Settings
from deploy.operate.registry.sign import opened
from deploy.registry.candidates import GONE
from deploy.registry.kinds import CANDIDATES, CHAMPIONS, COMMITS, ORDERS
from deploy.registry.records import Order
from deploy.registry.registry import Registry
from learners.evaluation.canary import ALL
from streams.errors import ConfigError

What: TypeAlias = Literal["promote", "rollback", "pause", "resume"]


def order(
    path: Path, settings: Settings, what: What, *, why: str, who: str | None = None, version: int | None = None,
    candidate: int | None = None,
) -> Order:  # fmt: skip
    """Write an order down.

    Raises:
        ConfigError: there is no reason, or no such version or candidate, or it serves already.
    """
    return give(opened(path, settings), what, why, who or getpass.getuser(), version, candidate)


def give(
    registry: Registry, what: What, why: str, who: str, version: int | None = None, candidate: int | None = None
) -> Order:
    """Do so in a registry."""
    if not why.strip():
        raise ConfigError("--why needs a reason: it is kept with the version")
    now = registry.last(CHAMPIONS)
    newest = registry.record(CHAMPIONS, now)
    canary = newest is not None and newest.share < ALL
    if version is not None and not 0 <= version <= now:
        raise ConfigError(f"there is no version {version}; the newest is {now}")
    one = None if version is None else registry.record(CHAMPIONS, version)
    if one and one.sync_of is not None:
        raise ConfigError(f"version {version} is a sync, which serves in the place of version {one.sync_of}: name that")
    if version == now and not (canary and what == "promote"):
        raise ConfigError(f"version {version} serves already")
    if what == "rollback" and now == 0:
        raise ConfigError("version 0 serves, and there is none before it")
    if candidate is not None:
        _check_candidate(registry, candidate)
    number = registry.last(ORDERS) + 1
    made = Order(
        number=number,
        what=what,
        version=version,
        candidate=candidate,
        who=who,
        why=why,
        at_ms=int(time.time() * 1_000),
        commit=registry.last(COMMITS),
    )
    if not registry.create(ORDERS, number, made):
        raise ConfigError("somebody else has just given an order: look at `shadowstream status` again")
    if candidate is not None:
        _check_candidate(registry, candidate)  # that a sweep has not just taken it
    return made


def _check_candidate(registry: Registry, number: int) -> None:
    found = registry.record(CANDIDATES, number)
    if found is None:
        raise ConfigError(f"there is no candidate {number}; the newest is {registry.last(CANDIDATES)}")
    if found.refused:
        raise ConfigError(f"candidate {number} must not serve: {found.refused}")
    if not registry.has(found.artifact):
        raise ConfigError(f"candidate {number} {GONE}")
