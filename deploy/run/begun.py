"""A run that begins with what another registry's feed has learned: which feed that is, and whether this may begin so.

Owns finding it. Does not know what is taken (`deploy/learning/taken.py`), or what must fit (`deploy/changes/fits.py`).
"""

from dataclasses import dataclass
from pathlib import Path

from deploy.changes.fits import Fit, fit
from deploy.config import Settings
from deploy.learning import taken
from deploy.lineages import Lineages
from deploy.pipeline import Pipeline
from deploy.registry.kinds import CHAMPIONS
from deploy.registry.opening import open_other
from deploy.registry.records import Begun, Champion
from deploy.registry.registry import Registry, begun
from deploy.registry.storage.home import Home, at, home, is_address, root
from deploy.run.partitions import Say
from learners.evaluation.canary import ALL
from learners.online.learner import Learner
from streams.errors import ConfigError, Untrusted


@dataclass(frozen=True)
class Beginning:
    """What a feed is to begin with: a version of another registry, and how the pipeline fits that."""

    other: Registry
    version: Champion
    begun: Begun
    fit: Fit

    def make(self, pipeline: Pipeline, registry: Registry, say: Say) -> Learner:
        """Make the first version, and say what was taken; return the learner, as it begins.

        Raises:
            ConfigError, RegistryError: as `taken.take`.
        """
        for line in self.fit.lines:
            say(line)
        made = taken.take(pipeline, registry, self.other, self.version, self.begun, live=self.fit.live)
        since = f"learning goes on from its commit {made.begun.commit}, {made.begun.learned:,} samples"
        live = ", live experts too" if pipeline.experts() else ""
        live = f"; live experts begin anew ({made.anew})" if made.anew else live
        say(f"begun from {made.begun}, which serves; {since}{live}")
        return made.learner


def place(text: str) -> Home:
    """Return the feed that `--from` names: its own folder or address, or that of a registry with no other feed.

    Raises:
        ConfigError: nothing was learned there, or by several feeds.
    """
    text = text.rstrip("/")
    own = _home(text)
    if begun(own):
        return own
    found = [name for name in _names(text) if begun(_home(f"{text}/{name}"))]
    if len(found) == 1:
        return _home(f"{text}/{found[0]}")
    if found:
        names = ", ".join(found[:-1]) + f" and {found[-1]}"
        raise ConfigError(f"--from {text}: there are the feeds {names}; name one, as in --from {text}/{found[0]}")
    raise ConfigError(
        f"--from {text}: nothing was learned there; name another feed's folder or address, as .shadowstream/NAME or "
        "what its registry.path says"
    )


def beginning(
    source: str, pipeline: Pipeline, settings: Settings, mine: Home, *, fresh: bool = False
) -> Beginning | None:
    """Return what the feed that is kept in `mine` is to begin with; None where it has begun from there already.

    Nothing is written.

    Raises:
        ConfigError: there is no such feed, it is this one, it does not fit, or this one has begun otherwise.
        Untrusted: no trusted key has signed its version; the text has the way out.
    """
    there = place(source)
    if there.address == mine.address or (fresh and there.local and there.folder.is_relative_to(mine.folder)):
        raise ConfigError(
            f"--from {source}: that is this feed's own registry. To begin anew with what it has learned, move the "
            "folder, or give the pipeline another name, and name the folder as it is then"
        )
    first = None if fresh else Registry(mine).record(CHAMPIONS, 0)
    if first is not None and first.begun is None:
        raise ConfigError(
            f"{mine} has begun already, of its own: --from is for a first start. Leave it out, and the feed goes on; "
            f"--fresh deletes what was learned here, and begins from {source}"
        )
    if first is not None and first.begun is not None and first.begun.home == there.address:
        return None
    other = open_other(there, settings.registry.key, settings.registry.trusted)
    if first is not None and first.begun is not None:
        if _same(other, first.begun):
            return None
        raise ConfigError(
            f"{mine} was begun from {first.begun}, and not from {there}: leave --from out, and the feed goes on"
        )
    version = _serving(other)
    if not Lineages(pipeline, other).today(version):
        raise ConfigError(
            f"--from {source}: v{version.number} there is of an earlier pipeline than what learns: begin once a "
            "version of the new model serves"
        )
    made = fit(pipeline, settings.join, other, engines=settings.serve.engines)
    return Beginning(other, version, taken.of(other, version), made)


def _serving(other: Registry) -> Champion:
    """Return the newest version that answers all requests, or those that a canary leaves.

    Raises:
        ConfigError: there is none.
        Untrusted: no trusted key has signed it.
    """
    for number in range(other.last(CHAMPIONS), -1, -1):
        try:
            version = other.record(CHAMPIONS, number)
        except Untrusted as wrong:
            raise Untrusted(
                f"--from {other.home}: {wrong}. Only what a trusted key has signed is taken: name its public key in "
                "registry.trusted, or have `shadowstream sign` there sign what it has"
            ) from None
        if version is not None and version.share == ALL:
            return version
    raise ConfigError(f"--from {other.home}: there is no version yet")


def _same(other: Registry, made: Begun) -> bool:
    """Return whether a registry is the one from which a version was taken, wherever it is now."""
    version = Registry(other.home).record(CHAMPIONS, made.version)
    return version is not None and taken.of(other, version).record == made.record


def _home(text: str) -> Home:
    """Return a feed's home by its own folder or address."""
    above, _, name = text.rpartition("/")
    return home(above, name) if is_address(text) and is_address(above) else at(Path(text).resolve())


def _names(text: str) -> list[str]:
    if is_address(text):
        return sorted({name.partition("/")[0] for name in root(text).sizes()})
    folder = Path(text)
    return sorted(path.name for path in folder.iterdir() if path.is_dir()) if folder.is_dir() else []
