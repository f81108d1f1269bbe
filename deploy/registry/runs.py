"""Who has run a feed: the records `runs/k`, each created once; the newest run has it.

Owns their names and fields. Does not know whether a run is alive: `deploy/run/claim.py` does.
"""

from pathlib import Path

import msgspec
from msgspec import Struct

from deploy.registry import storage

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


def path(folder: Path, number: int) -> Path:
    """Return the file of a record in a feed's folder."""
    return folder / RUNS / f"{number:08}.json"


def newest(folder: Path) -> int:
    """Return the number of the newest run, -1 if there was none."""
    return max((int(path.stem) for path in (folder / RUNS).glob("[0-9]*.json")), default=-1)


def read(folder: Path, number: int) -> Run | None:
    """Return a run, None if there is none of that number."""
    data = storage.read(path(folder, number))
    return None if data is None else decode(data)


def create(folder: Path, number: int, run: Run) -> bool:
    """Create a record durably, or return False because that number is taken."""
    (folder / RUNS).mkdir(parents=True, exist_ok=True)
    return storage.create(path(folder, number), encode(run))
