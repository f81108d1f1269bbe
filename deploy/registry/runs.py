"""Who has run a feed: the records `runs/k`, each created once; the newest run has it.

Owns their names and fields. Does not know whether a run is alive: `deploy/run/claim.py` does.
"""

import msgspec
from msgspec import Struct

from deploy.registry.storage.objects import Objects

RUNS = "runs"


class Run(Struct, frozen=True):
    """A run of a feed: the machine and process, the folder that it was started in, and since when."""

    host: str
    process: int
    folder: str
    token: str
    started_ms: int


encode = msgspec.json.Encoder().encode
decode = msgspec.json.Decoder(Run).decode


def name_of(number: int) -> str:
    """Return the name of a record.

    >>> name_of(3)
    'runs/00000003.json'
    """
    return f"{RUNS}/{number:08}.json"


def newest(objects: Objects) -> int:
    """Return the number of the newest run, -1 if there was none."""
    found = (name.removeprefix(f"{RUNS}/").removesuffix(".json") for name in objects.list(RUNS))
    return max((int(number) for number in found if number.isdecimal()), default=-1)


def read(objects: Objects, number: int) -> Run | None:
    """Return a run, None if there is none of that number."""
    data = objects.get(name_of(number))
    return None if data is None else decode(data)


def create(objects: Objects, number: int, run: Run) -> bool:
    """Create a record durably, or return False because that number is taken."""
    return objects.create(name_of(number), encode(run))
