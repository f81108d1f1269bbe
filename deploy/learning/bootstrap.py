"""The first version: train on the history, distil, and create commit 0 and champion 0, from which everything follows.

Owns that step, which is done once in a registry. Does not know Kafka, Redis or Ray.
"""

from collections.abc import Iterator
from dataclasses import replace
from itertools import chain, islice
from typing import NamedTuple

import numpy as np

from compressors.artifact import format as artifact
from compressors.data import Data
from compressors.recipe import PruneStructured
from deploy.engine import find
from deploy.learning.candidates import (
    chunks,
    compress,
    history,
    make_learner,
    privacy,
    provenance,
    target_of,
    times_of,
    waits,
)
from deploy.pipeline import NO_ROWS, Labelled, Pipeline
from deploy.registry.commits import read
from deploy.registry.kinds import CHAMPIONS, COMMITS
from deploy.registry.records import By, Champion
from deploy.registry.registry import Registry
from deploy.registry.states import kept
from learners.commits.checks import check_state
from learners.commits.commit import Commit
from learners.commits.state import fingerprint
from learners.live.past import Past, replay
from learners.online.learner import Learner
from streams.errors import ConfigError


class Given(NamedTuple):
    """An artifact made elsewhere, to be the first version: where it is from, and who wants that, and why."""

    artifact: bytes
    source: str
    by: str
    because: str


def bootstrap(
    pipeline: Pipeline, registry: Registry, *, engines: bool = False, given: Given | None = None
) -> Learner | None:
    """Create commit 0 and champion 0, and return the learner as it begins; None if there is a champion already.

    What is `given` serves in the place of what is made here; learning begins as it would without it.

    With `engines`, the version gets an engine that is proven on the history; later versions use its template, too.

    Without a history the version is untrained, and nothing is pruned before the first candidate: what matters is
    not known yet.

    Raises:
        ConfigError: the recipe removes units, and there is no history to choose them by.
        ValueError: the recipe cannot be carried out, or its artifact is refused.
    """
    if registry.last(CHAMPIONS) >= 0:
        return None
    learner, packed, data = begin(pipeline, registry)
    packed = given.artifact if given else packed
    evidence = given.source if given else "history" if data is not None else "untrained"
    champion = Champion(
        number=0, artifact=registry.put(packed), candidate=None, offset=learner.intercept.value, at_ms=0, learned=0,
        evidence=evidence, engine=_engine(pipeline, registry, packed, data) if engines else None,
        privacy=None if given else privacy(pipeline, rounds=0), by=given.by if given else "",
        because=given.because if given else "",
    )  # fmt: skip
    return learner if create(registry, learner, champion) else None


def create(registry: Registry, learner: Learner, champion: Champion) -> bool:
    """Create commit 0 with a learner's state, and champion 0; return False if there is a champion already."""
    first = Commit(
        number=0,
        parent="",
        learned=0,
        samples=[],
        runs=[],
        batches=[],
        shadow=[],
        intercept=learner.intercept.value,
        positions={},
        watermark_ms=0,
        latest_ms=0,
        fingerprint=fingerprint(),
        state=kept.put(registry, learner),
        scale=learner.scale,
    )
    registry.create(COMMITS, 0, first)
    return registry.create(CHAMPIONS, 0, champion)


def as_begun(pipeline: Pipeline, registry: Registry) -> Learner | None:
    """Return the learner as it begins, as of an import; None where it has learned since."""
    first = read(registry, 0) if registry.last(COMMITS) == 0 else None
    if first is None or first.state is None:
        return None
    learner = make_learner(pipeline, registry)
    learner.load(kept.get(registry, first.state))
    return learner


def begin(pipeline: Pipeline, registry: Registry) -> tuple[Learner, bytes, Data | None]:
    """Return a learner that has learned the history, the artifact that it makes, and the history's rows.

    Raises:
        ConfigError, ValueError: as `bootstrap`.
    """
    learner = make_learner(pipeline, registry)
    data = history(pipeline)
    if data is not None:
        _, rest = pipeline.recipe.split()  # units are removed later, and what is removed decides the state's shapes
        check_state(lambda: make_learner(replace(pipeline, recipe=rest)), data)
    if data is None and pipeline.recipe.first(PruneStructured) is not None:
        raise ConfigError(NO_ROWS.format(pipeline.name))
    if data is None:
        packed = artifact.pack(learner.shadow.model, provenance(pipeline, learner.teacher.model))
    else:
        learner.study(data)
        if pipeline.recipe.first(PruneStructured):
            learner.shrink(data)
        made, _ = compress(pipeline, learner, learner.shadow.model, data)
        if refusal := made.refusal:
            raise ValueError(f"the first artifact was refused: {refusal}")
        packed = made.artifact
    learner.shadow.settle()
    study(pipeline, learner)
    return learner, packed, data


def study(pipeline: Pipeline, learner: Learner) -> None:
    """Let the live experts learn the history, oldest first: as it happened where it has times, else as it is known.

    Raises:
        ConfigError: some rows have times and others have none, or they are not in order.
    """
    if not (pipeline.history and learner.live):
        return
    rows = iter(pipeline.history())
    first = list(islice(rows, 1))
    rows = chain(first, rows)
    if first and times_of(pipeline, first[0]):
        return replay(learner.live, _past(pipeline, rows))
    for chunk in chunks(rows):
        labels = np.array([target_of(pipeline, row) for row in chunk])
        learner.live.study(tuple(row.features for row in chunk), labels)


def _past(pipeline: Pipeline, rows: Iterator[Labelled]) -> Iterator[Past]:
    last_ms = 0
    for row in rows:
        label, times = None if waits(row) else target_of(pipeline, row), times_of(pipeline, row)
        if times is None or times[0] < last_ms:
            why = (
                "has no times, and others have" if times is None else f"is of {times[0]} ms, after one of {last_ms} ms"
            )
            raise ConfigError(
                f"pipeline {pipeline.name!r}: history: a row {why}; with times, all have them, oldest first"
            )
        last_ms = times[0]
        yield Past(row.features, times[0], label, times[1])


def _engine(pipeline: Pipeline, registry: Registry, packed: bytes, data: Data | None) -> By:
    if data is None:
        return "there is no history to prove an engine on"
    newest = max(0, len(data) - pipeline.online.replay)
    return find(registry, packed, pipeline.model, data.between(newest, len(data)))
