"""The first version: train on history, distil, and lay down commit 0 and champion 0, from which everything follows.

Owns that one step, once a registry. Does not know Kafka, Redis or Ray.
"""

from collections.abc import Iterator, Sequence
from itertools import islice

import torch

from compressors.artifact import format as artifact
from compressors.data import Data
from compressors.recipe import PruneStructured
from deploy.learning.distiller import compress, make_learner, provenance
from deploy.pipeline import NO_ROWS, Labelled, Pipeline
from deploy.registry.kinds import CHAMPIONS, COMMITS
from deploy.registry.records import Champion
from deploy.registry.registry import Registry
from learners.commits import commit as commits
from learners.commits.commit import Commit
from learners.online.batches import Inputs, join
from streams.errors import ConfigError

ROWS_AT_ONCE = 4_096


def bootstrap(pipeline: Pipeline, registry: Registry) -> bool:
    """Create commit 0 and champion 0; returns False if they are there already.

    Without history nothing tells which weights matter, so nothing is pruned before the first candidate.
    """
    if registry.last(CHAMPIONS) >= 0:
        return False
    learner = make_learner(pipeline)
    data = history(pipeline)
    if data is None and pipeline.recipe.first(PruneStructured) is not None:
        raise ConfigError(NO_ROWS.format(pipeline.name))
    if data is None:
        packed = artifact.pack(learner.shadow.model, provenance(pipeline, learner.teacher.model))
    else:
        learner.study(data.inputs, data.labels)
        if pipeline.recipe.first(PruneStructured):
            learner.shrink(data)
        packed, _, refused = compress(pipeline, learner.shadow.model, learner.teacher.mean, data, learner.shapes)
        if refused is not None:
            raise ValueError(f"the first artifact was refused: {refused}")
    learner.shadow.settle()
    digest = registry.put(packed)
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
        fingerprint=commits.fingerprint(),
        state=registry.put(commits.pack_state(learner.state())),
    )
    registry.create(COMMITS, 0, first)
    evidence = "history" if data is not None else "untrained"
    champion = Champion(
        number=0, artifact=digest, candidate=None, offset=learner.intercept.value, at_ms=0, learned=0, evidence=evidence
    )
    return registry.create(CHAMPIONS, 0, champion)


def history(pipeline: Pipeline) -> Data | None:
    """Read the pipeline's history; None if it has none."""
    if pipeline.history is None:
        return None
    rows = iter(pipeline.history())
    parts: list[Inputs] = []
    labels: list[float] = []
    for chunk in _chunks(rows):
        parts.append(pipeline.encode([row.features for row in chunk]))
        labels += [row.label for row in chunk]
    for label in set(labels):
        pipeline.task.check(label)
    return Data(join(parts), torch.tensor(labels, dtype=torch.float32)) if parts else None


def _chunks(rows: Iterator[Labelled]) -> Iterator[Sequence[Labelled]]:
    while chunk := list(islice(rows, ROWS_AT_ONCE)):
        yield chunk
