"""The names of whole states: `states/N-O-CHAIN`, after commit N, the O-th of its feed.

CHAIN is the SHA-256 of commit N, and so of all before it: a state of a commit that lost its race is none. Owns names
alone. Imports no model.
"""

import re
from typing import NamedTuple

from deploy.registry.storage import Objects

STATES = "states"
DIGITS = 12
NAME = re.compile(rf"{STATES}/(\d{{{DIGITS},}})-(\d{{{DIGITS},}})-([0-9a-f]{{64}})")


class Name(NamedTuple):
    """Which state one is; the first of a feed, that of commit 0, has ordinal 0 and is a blob that commit 0 names."""

    number: int
    ordinal: int
    chain: str

    @property
    def object(self) -> str:
        """The object's name.

        >>> Name(35, 1, "ab").object
        'states/000000000035-000000000001-ab'
        """
        return f"{STATES}/{self.number:0{DIGITS}}-{self.ordinal:0{DIGITS}}-{self.chain}"


def of(name: str) -> Name | None:
    """Return which state an object is; None where something else has that name."""
    found = NAME.fullmatch(name)
    return Name(int(found[1]), int(found[2]), found[3]) if found else None


def listed(objects: Objects) -> list[Name]:
    """Return the states that are there, the newest commit's last."""
    return [name for name in map(of, objects.list(STATES)) if name is not None]
