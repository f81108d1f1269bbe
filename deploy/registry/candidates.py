"""Candidates get their numbers here, one after the other, whoever makes them.

Owns that no two have one number. Does not know how a candidate is made.
"""

from msgspec.structs import replace

from deploy.registry.kinds import CANDIDATES
from deploy.registry.records import Candidate
from deploy.registry.registry import Registry


def add(registry: Registry, candidate: Candidate) -> int:
    """Create a candidate under the next number that is free; return that."""
    number = registry.last(CANDIDATES)
    while True:
        number = registry.last(CANDIDATES, number) + 1
        if registry.create(CANDIDATES, number, replace(candidate, number=number)):
            return number
