"""The first version of a feed that begins with what another one has learned: that feed's champion, weights and experts.

All of it is copied into the new feed's registry, which needs nothing of the other one afterwards. Counts, positions,
ids and samples are not taken. Owns what is taken. Does not know where the other registry is, or whether it fits.
"""

import hashlib
from dataclasses import replace
from typing import NamedTuple

from msgspec.structs import replace as with_

from deploy.engine import mismatch
from deploy.learning.bootstrap import create, study
from deploy.learning.candidates import make_learner
from deploy.pipeline import Pipeline
from deploy.registry.kinds import CHAMPIONS, COMMITS
from deploy.registry.rebuild import rebuild
from deploy.registry.records import Begun, By, Champion, Engine
from deploy.registry.registry import Registry
from deploy.registry.seals import opened
from deploy.registry.signing import name_of
from deploy.registry.states import kept as states
from learners.live.settings import Intercept
from learners.online.learner import Learner
from streams.errors import ConfigError

UNFIT = (ConfigError, ValueError, KeyError, RuntimeError)  # what a learner raises that is to load another's state


class Taken(NamedTuple):
    """What was taken: the learner as it begins, from where, and why its live experts begin anew; None: they do not."""

    learner: Learner
    begun: Begun
    anew: str | None


def take(
    pipeline: Pipeline, registry: Registry, other: Registry, version: Champion, begun: Begun, *, live: str | None
) -> Taken:
    """Create commit 0 and champion 0 from another registry's version and its learner, as of its newest commit.

    `live` says why the live experts begin anew; with None they go on, too, if their state fits.

    Raises:
        ConfigError: the state does not fit the pipeline, or a start that was cut off has begun otherwise.
        RegistryError: a commit, a state or an artifact is missing or damaged.
    """
    learner, last, live = _learner(pipeline, registry, other, live)
    begun = with_(begun, commit=last, learned=learner.learned)
    learner.begin()
    learner.trust = pipeline.running_trust()
    _check_cut_off(registry, learner)
    champion = Champion(
        number=0, artifact=registry.put(other.get(version.artifact)), candidate=None, offset=version.offset, at_ms=0,
        learned=0, evidence=f"begun from {begun}", engine=_engine(registry, other, version), privacy=version.privacy,
        begun=begun,
    )  # fmt: skip
    create(registry, learner, champion)
    return Taken(learner, begun, live)


def _learner(
    pipeline: Pipeline, registry: Registry, other: Registry, live: str | None
) -> tuple[Learner, int, str | None]:
    """Return a learner as the other one is at its newest commit, that commit, and why live experts begin anew."""
    last = other.last(COMMITS)
    if pipeline.experts() is None:
        live = None
    elif live is None:
        try:
            learner = _rebuilt(pipeline, registry, other, last)
        except UNFIT as wrong:
            live = f"their state does not fit: {_line(wrong)}"
        else:
            return learner, last, None
    try:
        learner = _rebuilt(replace(pipeline, live=Intercept()), registry, other, last)
    except UNFIT as wrong:
        raise ConfigError(f"the state of {other.home}, commit {last}, does not fit: {_line(wrong)}") from None
    learner.live = pipeline.experts()
    study(pipeline, learner)
    return learner, last, live


def _rebuilt(pipeline: Pipeline, registry: Registry, other: Registry, last: int) -> Learner:
    learner = make_learner(pipeline, registry)
    rebuild(learner, other, last)
    return learner


def _check_cut_off(registry: Registry, learner: Learner) -> None:
    """Check that there is no first commit yet, or only this very one, of a start that was cut off before its version.

    Raises:
        ConfigError: there is another one.
    """
    there = registry.record(COMMITS, 0)
    if there is not None and there.state != states.put(registry, learner):
        raise ConfigError(
            f"{registry.home} has the first commit of a start that was cut off, and that had begun otherwise: --fresh "
            "deletes it"
        )


def _engine(registry: Registry, other: Registry, version: Champion) -> By:
    """Return what runs the version, with its template and ranges copied; torch where it does so there, too."""
    engine = version.engine
    if not isinstance(engine, Engine):
        return engine
    if wrong := mismatch(other, version.artifact):
        return wrong
    for digest in filter(None, (engine.template, engine.ranges)):
        registry.put(other.get(digest))
    return engine


def of(registry: Registry, version: Champion) -> Begun:
    """Return where a version is from, before what follows of its learner is known."""
    record, seal = opened(registry.read(CHAMPIONS, version.number) or b"")
    return Begun(
        home=registry.home.address,
        feed=seal.feed if seal else registry.home.name,
        version=version.number,
        record=hashlib.sha256(record).hexdigest(),
        key=name_of(bytes.fromhex(seal.key)) if seal else "",
        commit=0,
        learned=0,
    )


def _line(wrong: Exception) -> str:
    return f"no {wrong} in it" if isinstance(wrong, KeyError) else " ".join(str(wrong).split()).partition(";")[0]
