"""A version made again from the log, with all its events or without some.

Owns which state that begins at, and the comparison with the version that served. Does not know how a learner learns, or
tables.
"""

import hashlib
from collections.abc import Collection
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

import torch
from msgspec import Struct

from compressors.artifact import format as artifact
from compressors.artifact.manifest import finite
from compressors.artifact.parity import Parity, parity
from compressors.data import Data
from deploy import pipeline as pipelines
from deploy.config import Settings
from deploy.learning.bootstrap import bootstrap
from deploy.learning.candidates import average, distil, history, make_learner
from deploy.lineages import Lineages
from deploy.loading import users_code
from deploy.operate.files import check_file
from deploy.pipeline import Pipeline
from deploy.registry.commits import backwards, base, let_go, newest
from deploy.registry.commits import read as read_commit
from deploy.registry.kinds import CANDIDATES, CHAMPIONS
from deploy.registry.rebuild import rebuild
from deploy.registry.records import Base, Candidate, Champion
from deploy.registry.registry import Registry
from deploy.registry.reigns import versions
from deploy.registry.storage.home import home
from learners.commits.forget import without
from learners.commits.state import fingerprint
from streams.errors import ConfigError, Disagreement, RegistryError

MADE_WITH = "pipeline", "recipe", "versions", "factory"  # entries of a manifest


class Remade(Struct, frozen=True, kw_only=True):
    """A version made again; `rebuild --json` prints it.

    `first`, `last`: the commits from whose state, and to whose, was learned again; `again` of the `learned` samples.
    `kept`, `made`: the SHA-256 of the version's artifact, and of the one made again.
    `environments`: those other than this one in which the commits were made. `changed`: entries of the artifact's
        manifest that would be others today, such as the recipe or a package's version. Equal bits are promised only
        where both are empty.
    `apart`: how far the two artifacts' answers are apart, as in `Parity`; None where the bits are equal, or there are
        no rows to answer. `refusal` says why that is too far.
    """

    feed: str
    version: int
    first: int
    last: int
    learned: int
    again: int
    kept: str
    made: str
    environments: list[str]
    changed: list[str]
    apart: dict[str, float | None] | None
    refusal: str | None

    @property
    def equal(self) -> bool:
        """Whether the two artifacts are the same, bit for bit."""
        return self.kept == self.made

    def check(self) -> None:
        """Raise an error where the version is not what its log makes.

        Raises:
            Disagreement: the bits differ in an equal environment, or the answers in another one.
        """
        if self.equal:
            return
        if not (self.environments or self.changed):
            raise Disagreement(f"version {self.version} is not what its commits make: {self.made}, not {self.kept}")
        if self.apart is None or self.refusal:
            why = self.refusal or "there are no rows to compare answers on"
            raise Disagreement(f"version {self.version} is not shown to be the same when it is made again: {why}")


class Served(NamedTuple):
    """A version that has served, and the commit of whose state it was made; None where that was the history's."""

    pipeline: Pipeline
    registry: Registry
    champion: Champion
    commit: int | None


def served(path: Path, settings: Settings, version: int) -> Served:
    """Return a version of a pipeline.

    Raises:
        ConfigError: the pipeline was never run here, there is no such version, or it was imported; or the samples that
            it is made of were let go.
        RegistryError: its candidate is missing.
    """
    pipeline = pipelines.load(path)
    at = home(settings.registry.path, pipeline.name)
    registry = Registry(at)
    if registry.last(CHAMPIONS) < 0:
        raise ConfigError(f"{at} has no version: use the working directory of the run, or its registry.path")
    champion = registry.record(CHAMPIONS, version)
    if champion is None:
        raise ConfigError(f"there is no version {version}; the newest is {registry.last(CHAMPIONS)}")
    first = registry.record(CHAMPIONS, 0)
    if champion.sync_of is not None:
        return _sync(pipeline, registry, champion)
    if champion.candidate is None and first is not None and first.begun:
        raise ConfigError(
            f"version {version} is {first.begun}: this feed began with it, and `rebuild` there makes it again; what "
            "was learned here is learned again by `rebuild` of a later version, and by `audit --rebuild`"
        )
    if champion.candidate is None and first is not None and first.by:
        raise ConfigError(f"version {version} was made elsewhere, and nothing here can make it again: {first.evidence}")
    if not Lineages(pipeline, registry).today(champion):
        raise ConfigError(f"version {version} is of an earlier pipeline, whose model was another: it is not made again")
    if champion.candidate is None:
        return Served(pipeline, registry, champion, None)
    candidate = registry.record(CANDIDATES, champion.candidate)
    if candidate is None:
        raise RegistryError(f"{at.of(CANDIDATES.object(champion.candidate))} is missing, of which version {version} is")
    if candidate.by:
        raise ConfigError(
            f"version {version} was made elsewhere, and nothing here can make it again: {candidate.reason}"
        )
    _check_left(pipeline, registry, champion, candidate)
    return Served(pipeline, registry, champion, candidate.commit)


def _sync(pipeline: Pipeline, registry: Registry, champion: Champion) -> Served:
    if not Lineages(pipeline, registry).today(champion):
        raise ConfigError(
            f"version {champion.number} is of an earlier pipeline, whose model was another: it is not made again"
        )
    _check_left(pipeline, registry, champion)
    return Served(pipeline, registry, champion, champion.commit)


def _check_left(pipeline: Pipeline, registry: Registry, champion: Champion, of: Candidate | None = None) -> None:
    """Check that what a version was made of was not let go.

    Raises:
        ConfigError: it was; the message names the versions that can be made again.
    """
    if (before := base(registry)) is None or _left(pipeline, champion, of, before):
        return
    commit = champion.commit if of is None else of.commit
    replayed = f" and replays the {pipeline.online.replay:,} samples before it" if of else ""
    raise ConfigError(
        f"version {champion.number} was made of commit {commit}{replayed}, and {let_go(registry)}. "
        f"{_others(pipeline, registry, before)}"
    )


def _left(pipeline: Pipeline, champion: Champion, of: Candidate | None, before: Base) -> bool:
    """Return whether all that a version was made of is in the log, which begins there; a sync needs no replay."""
    if champion.sync_of is not None:
        return (champion.commit or 0) >= before.number
    if of is None or of.by or of.commit < before.number:
        return False
    return of.learned - before.samples >= pipeline.online.replay


def _others(pipeline: Pipeline, registry: Registry, before: Base) -> str:
    """Return which versions can be made again."""
    found = list[str]()
    for one in versions(registry):
        of = None if one.candidate is None else registry.record(CANDIDATES, one.candidate)
        if _left(pipeline, one, of, before):
            found.append(f"v{one.number}" if one.sync_of is None else f"syncs of v{one.sync_of} from then on")
    return f"What can be made again: {', '.join(found)}" if found else "No version can be made again"


def remake(path: Path, settings: Settings, version: int, *, full: bool = False, out: Path | None = None) -> Remade:
    """Make a version again, from the newest whole state before it, with `full` from the first; `out` gets the artifact.

    Raises:
        ConfigError, RegistryError: as `served`; `out` cannot be written.
    """
    check_file(out)
    of = served(path, settings, version)
    with users_code(str(path)):
        made, remade = learned_again(of, 0 if full else (of.commit or 0) - 1)
    if out:
        out.write_bytes(made)
    return remade


def learned_again(of: Served, base: int, forget: Collection[str] = ()) -> tuple[bytes, Remade]:
    """Make a version again from the newest whole state of commit `base` or an earlier one; return its artifact too.

    From there on the samples of the ids in `forget` are left out.
    """
    torch.set_num_threads(1)  # as all roles do
    made = (
        _of_history(of.pipeline)
        if of.commit is None
        else _of_commits(of, of.commit, max(of.registry.begins(), base), forget)
    )
    return made.artifact, _compared(of, made)


class _Made(NamedTuple):
    """An artifact made again, on rows whose newest part is to compare answers on; `learned` samples, `before` before
    them, in the state of commit `first`.
    """

    artifact: bytes
    rows: Data | None
    first: int = 0
    before: int = 0
    learned: int = 0


def _of_history(pipeline: Pipeline) -> _Made:
    with TemporaryDirectory() as folder:
        registry = Registry(Path(folder))
        bootstrap(pipeline, registry)
        (champion,) = registry.records(CHAMPIONS)
        return _Made(registry.get(champion.artifact), history(pipeline))


def _of_commits(of: Served, last: int, base: int, forget: Collection[str]) -> _Made:
    pipeline, registry = of.pipeline, of.registry
    learner = make_learner(pipeline, registry)
    first = rebuild(learner, registry, last, base=base, forget=forget)
    left = newest((without(commit, forget) for commit in backwards(registry, last)), pipeline.online.replay)
    samples = [sample for commit in left for sample in commit.read()]
    before = read_commit(registry, first).learned
    if of.champion.sync_of is not None:
        rows = pipeline.encoder().data(samples, learner.task)
        return _Made(average(pipeline, learner), rows, first, before, learner.learned)
    made, _, rows = distil(pipeline, learner, samples, read_commit(registry, last).due)
    if made.refusal:
        raise RegistryError(f"the artifact that was made again must not serve: {made.refusal}")
    return _Made(made.artifact, rows, first, before, learner.learned)


def _compared(of: Served, made: _Made) -> Remade:
    last, made_as = of.commit or 0, digest_of(made.artifact)
    if (
        made_as != of.champion.artifact
        and of.champion.sync_of is not None
        and not of.registry.has(of.champion.artifact)
    ):
        raise Disagreement(
            f"version {of.champion.number} is {made_as} when it is made again, not {of.champion.artifact}, which has "
            "gone: it is the same only by the same pipeline.py, packages and kind of processor"
        )
    kept = made.artifact if made_as == of.champion.artifact else of.registry.get(of.champion.artifact)
    ours, theirs = artifact.describe(made.artifact).manifest, artifact.describe(kept).manifest
    apart = _apart(of.pipeline, kept, made) if kept != made.artifact else None
    environments = {read_commit(of.registry, n).fingerprint for n in range(made.first, last + 1)}
    return Remade(
        feed=of.pipeline.name,
        version=of.champion.number,
        first=made.first,
        last=last,
        learned=made.learned,
        again=made.learned - made.before,
        kept=of.champion.artifact,
        made=made_as,
        environments=sorted(environments - {fingerprint()}),
        changed=[name for name in MADE_WITH if ours.get(name) != theirs.get(name)],
        apart={name: finite(value) for name, value in apart._asdict().items()} if apart else None,
        refusal=apart.refusal(who="the two artifacts") if apart else None,
    )


def digest_of(data: bytes) -> str:
    """Return the SHA-256 of these bytes, by which the registry names them."""
    return hashlib.sha256(data).hexdigest()


def _apart(pipeline: Pipeline, kept: bytes, made: _Made) -> Parity | None:
    """Return how far the answers of the two are apart on the newest rows."""
    if made.rows is None:
        return None
    held = made.rows.split()[1] if len(made.rows) > 1 else made.rows
    scale = artifact.describe(kept).scale
    before, after = (artifact.load(data, pipeline.model) for data in (kept, made.artifact))
    return parity(before, after, held.rows, scale.mean if scale else 0.0)
