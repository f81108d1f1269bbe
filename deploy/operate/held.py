"""Sources whose samples are held: listed, and what a person says of them.

Owns the listing, and the record of a ruling, which the learner takes in its next step. Does not know tables.
"""

import getpass
import time
from pathlib import Path

import msgspec
from msgspec import Struct

from deploy.config import Settings
from deploy.feed import load
from deploy.registry.held import undecided
from deploy.registry.kinds import COMMITS, RULINGS
from deploy.registry.registry import Registry
from learners.commits.commit import Ruling
from learners.labels.holds import Said
from streams.errors import ConfigError


class HeldSource(Struct):
    """A source, how many of its samples wait, the times of the first and last one (ms), and why they are held."""

    source: str
    samples: int
    first_ms: int
    last_ms: int
    why: str


class Listing(Struct, frozen=True):
    """What `held --json` prints: the sources whose samples wait for a person, and all that people have said."""

    waiting: list[HeldSource]
    rulings: list[Ruling]


class _Timed(Struct):
    t: int


_timed = msgspec.json.Decoder(_Timed)


def listed(path: Path, settings: Settings) -> Listing:
    """List what waits, most samples first.

    Raises:
        ConfigError: nothing was learned here.
    """
    registry, found = _registry(path, settings), dict[str, HeldSource]()
    for one in undecided(registry):
        t_ms, hold = _timed.decode(one.sample).t, one.hold
        of = found.setdefault(hold.source, HeldSource(hold.source, 0, t_ms, t_ms, hold.why))
        of.samples, of.first_ms, of.last_ms = of.samples + 1, min(of.first_ms, t_ms), max(of.last_ms, t_ms)
    return Listing(sorted(found.values(), key=lambda of: -of.samples), list(registry.records(RULINGS)))


def rule(path: Path, settings: Settings, source: str, said: Said, *, why: str, who: str | None = None) -> HeldSource:
    """Say what is to be done with the samples of a source; return what waited of it.

    Raises:
        ConfigError: there is no reason, or no sample of this source waits.
    """
    if not why.strip():
        raise ConfigError("--why needs a reason: it is kept with the feed")
    waiting = {of.source: of for of in listed(path, settings).waiting}
    if source not in waiting:
        names = ", ".join(map(repr, waiting)) or "no source's"
        raise ConfigError(f"no samples of {source!r} are held; held are {names}")
    registry, at_ms = _registry(path, settings), int(time.time() * 1_000)
    number = registry.last(RULINGS) + 1
    ruling = Ruling(number=number, source=source, said=said, who=who or getpass.getuser(), why=why, at_ms=at_ms)
    if not registry.create(RULINGS, number, ruling):
        raise ConfigError("somebody else has just ruled: look at `shadowstream held` again")
    return waiting[source]


def _registry(path: Path, settings: Settings) -> Registry:
    folder = Path(settings.registry.path).resolve() / load(path).name
    if not COMMITS.path(folder, 0).exists():
        raise ConfigError(f"{folder} has no commit: use the working directory of the run, or its registry.path")
    return Registry(folder)
