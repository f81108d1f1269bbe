"""Candidates get their numbers here, one after the other, whoever makes them.

Owns that no two have one number. Does not know how a candidate is made.
"""

from msgspec.structs import replace

from deploy.registry.kinds import BLOBS, CANDIDATES
from deploy.registry.records import Candidate
from deploy.registry.registry import Registry

GONE = "has no artifact any more: those of old candidates that never served go (`shadowstream gc`)"


def gone(registry: Registry) -> set[int]:
    """Return the candidates that have no artifact any more."""
    there = {*registry.objects.list(BLOBS)}
    return {one.number for one in registry.records(CANDIDATES) if f"{BLOBS}/{one.artifact}" not in there}


def add(registry: Registry, candidate: Candidate, artifact: bytes | None = None) -> int:
    """Create a candidate under the next number that is free; return that.

    Its artifact was put before; where a sweep has taken it meanwhile, as nobody named it, it is put again.
    """
    number = registry.last(CANDIDATES)
    while True:
        number = registry.last(CANDIDATES, number) + 1
        if registry.create(CANDIDATES, number, replace(candidate, number=number)):
            if artifact is not None:
                registry.keep(candidate.artifact, artifact)
            return number
