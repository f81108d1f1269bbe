"""The versions that have served, and what follows from their order: which one answers, and which would come back.

Syncs of one version follow each other by the thousand, so of a run of them the newest stands for all. Owns that, and
these rules, which are pure functions of the versions so far. Does not know alarms, or who decides.
"""

from collections.abc import Sequence

from deploy.registry.kinds import CHAMPIONS
from deploy.registry.records import Champion
from deploy.registry.registry import Registry
from learners.evaluation.canary import ALL

SYNCS = 4  # of the newest, whose artifacts stay: a server that is late may still load one


def versions(registry: Registry, last: int | None = None) -> list[Champion]:
    """Return the versions up to `last`, by default the newest, oldest first; of syncs in a row, the newest.

    Raises:
        RegistryError: one is missing, or not signed.
    """
    found, number = list[Champion](), registry.last(CHAMPIONS) if last is None else last
    while number >= 0 and (one := registry.record(CHAMPIONS, number)):
        found.append(one)
        number = one.number - 1 if one.sync_of is None else one.sync_of
    return found[::-1]


def add(champions: list[Champion], made: Champion) -> None:
    """Add the next version."""
    if made.sync_of is not None and champions[-1].sync_of == made.sync_of:
        champions.pop()
    champions.append(made)


def at(champions: Sequence[Champion], number: int) -> Champion | None:
    """Return the version of a number, None if there is none among these."""
    return next((one for one in reversed(champions) if one.number == number), None)


def base(champions: Sequence[Champion]) -> Champion:
    """Return the newest version that answers all requests, or those that a canary leaves."""
    return next(one for one in reversed(champions) if one.share == ALL)


def gated(champions: Sequence[Champion]) -> Champion:
    """Return the newest version that is no sync."""
    return next(one for one in reversed(champions) if one.sync_of is None)


def syncs(champions: Sequence[Champion]) -> int:
    """Return how many syncs there were of all versions."""
    return sum(one.number - one.sync_of for one in champions if one.sync_of is not None)


def promotions(champions: Sequence[Champion]) -> int:
    """Return how many versions brought a candidate's artifact, and answered all requests."""
    return sum(one.share == ALL and one.back_to is None and one.sync_of is None for one in champions[1:])


def reigning(champions: Sequence[Champion], number: int) -> bool:
    """Return whether a version serves, if by another share than now, or by a later sync."""
    since = [one.reign for one in champions if one.number >= number]
    return bool(since) and all(reign == champions[-1].reign for reign in since)


def left(champions: Sequence[Champion]) -> list[tuple[Champion, Champion]]:
    """Return each version that came back, after the one that it has left."""
    return [(gone, one) for one in champions if one.back_to is not None and (gone := at(champions, one.number - 1))]


def barred(champions: Sequence[Champion]) -> set[str]:
    """Return the artifacts that a rollback has left: none of them serves again by itself."""
    return {gone.artifact for gone, _ in left(champions)}


def before(champions: Sequence[Champion]) -> int | None:
    """Return the newest version whose artifact is not the one that serves, nor one that a rollback has left.

    A canary never was what served before, nor was a sync.
    """
    gone = {champions[-1].artifact, *barred(champions)}
    others = (
        one.number
        for one in reversed(champions)
        if one.share == ALL and one.sync_of is None and one.artifact not in gone
    )
    return next(others, None)
