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
from deploy.registry.kinds import RULINGS
from deploy.registry.registry import Registry, begun
from deploy.registry.storage.home import home
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
    """List what waits of a pipeline, most samples first.

    Raises:
        ConfigError: nothing was learned here.
    """
    registry = _registry(path, settings)
    return Listing(list(waiting(registry).values()), list(registry.records(RULINGS)))


def waiting(registry: Registry) -> dict[str, HeldSource]:
    """Return the sources that wait for a person, most samples first."""
    found = dict[str, HeldSource]()
    for one in undecided(registry):
        t_ms, hold = _timed.decode(one.sample).t, one.hold
        of = found.setdefault(hold.source, HeldSource(hold.source, 0, t_ms, t_ms, hold.why))
        of.samples, of.first_ms, of.last_ms = of.samples + 1, min(of.first_ms, t_ms), max(of.last_ms, t_ms)
    return dict(sorted(found.items(), key=lambda named: -named[1].samples))


def rule(path: Path, settings: Settings, source: str, said: Said, *, why: str, who: str | None = None) -> HeldSource:
    """Say what is to be done with the samples of a pipeline's source; return what waited of it.

    Raises:
        ConfigError: there is no reason, or no sample of this source waits.
    """
    return ruled(_registry(path, settings), source, said, why=why, who=who or getpass.getuser())


def ruled(registry: Registry, source: str, said: Said, *, why: str, who: str) -> HeldSource:
    """Do so in a registry."""
    if not why.strip():
        raise ConfigError("--why needs a reason: it is kept with the feed")
    held = waiting(registry)
    if source not in held:
        names = ", ".join(map(repr, held)) or "no source's"
        raise ConfigError(f"no samples of {source!r} are held; held are {names}")
    number, at_ms = registry.last(RULINGS) + 1, int(time.time() * 1_000)
    ruling = Ruling(number=number, source=source, said=said, who=who, why=why, at_ms=at_ms)
    if not registry.create(RULINGS, number, ruling):
        raise ConfigError("somebody else has just ruled: look at `shadowstream held` again")
    return held[source]


def _registry(path: Path, settings: Settings) -> Registry:
    at = home(settings.registry.path, load(path).name)
    if not begun(at):
        raise ConfigError(f"{at} has no commit: use the working directory of the run, or its registry.path")
    return Registry(at)
