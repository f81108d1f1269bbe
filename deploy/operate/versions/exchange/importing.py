"""An exported version into a pipeline's registry: its first version, or a candidate that must prove itself.

Owns which of the two, and the checks against the pipeline. Does not know a folder, or how a candidate is
tested.
"""

import getpass
import time
from pathlib import Path
from typing import cast

import torch
from msgspec import Struct

from compressors.answers import answers, checked
from compressors.artifact import format as artifact
from compressors.artifact.manifest import finite
from compressors.data import Data, Scaled
from compressors.errors import ArtifactError, Unsuited
from compressors.scale import Scale
from deploy import pipeline as pipelines
from deploy.config import Settings
from deploy.engine import find
from deploy.learning.bootstrap import Given, bootstrap
from deploy.loading import users_code
from deploy.operate.versions.exchange.folder import Found, one_line, read
from deploy.pipeline import Pipeline
from deploy.registry.candidates import add
from deploy.registry.commits import backwards, newest
from deploy.registry.kinds import CANDIDATES, CHAMPIONS, PIPELINES
from deploy.registry.opening import open_registry
from deploy.registry.records import Candidate, Figures
from deploy.registry.registry import Registry
from deploy.registry.storage.home import home
from learners.commits.commit import Commit
from learners.evaluation.verdict import Kind
from learners.tasks.task import Task
from streams.errors import ConfigError


class Imported(Struct, frozen=True, kw_only=True):
    """What became of a folder: the first version, where `candidate` is None, or that candidate.

    `artifact` is the SHA-256, `loss` the candidate's on the newest samples, None if there are none.
    """

    feed: str
    artifact: str
    source: str
    candidate: int | None = None
    loss: float | None = None


def bring(
    path: Path, settings: Settings, folder: Path, *, why: str, who: str | None = None, key: Path | None = None
) -> Imported:
    """Take the version in a folder that `export` wrote, or the artifact in one of `compressors`' own.

    In a registry without a version it becomes the first one; else a candidate, of another lineage: it must prove that
    it is better, and that it stays so, on predictions that come after the learner's newest commit. `key` is the file of
    the public key that must have signed it where it served.

    Raises:
        ConfigError: there is no reason; the folder is not whole, or is changed; its model is not the pipeline's, or
            answers with numbers that are not finite; it is a version or a candidate here already.
        Untrusted: the key has not signed it.
    """
    if not why.strip():
        raise ConfigError("--why needs a reason: it is kept with the version")
    found, pipeline, by = read(folder, key), pipelines.load(path), who or getpass.getuser()
    with users_code(f"{path}: model"):
        try:
            model = artifact.load(found.packed, pipeline.model)
        except ArtifactError as wrong:
            why_not = one_line(wrong)
            raise ConfigError(f"{folder} holds another model than pipeline {pipeline.name!r}: {why_not}") from None
    registry = open_registry(
        home(settings.registry.path, pipeline.name), settings.registry.key, settings.registry.trusted
    )
    source = _source(found, folder)
    if registry.last(CHAMPIONS) < 0:
        return _first(pipeline, settings, registry, found, Given(found.packed, source, by, why))
    _check_new(registry, found.digest)
    data, task, last = _newest(pipeline, registry)
    figures = _measured(pipeline, model, found, data, task)
    candidate = Candidate(
        number=-1,
        commit=last.number,
        learned=last.learned,
        at_ms=last.watermark_ms,
        reason=f"{source}: {why}",
        artifact=registry.put(found.packed),
        figures=figures,
        engine=find(registry, found.packed, pipeline.model, data) if settings.serve.engines else None,
        kind=Kind.OTHER,
        by=by,
        pipeline=max(0, registry.last(PIPELINES)),
    )
    number = add(registry, candidate, found.packed)
    return Imported(feed=pipeline.name, artifact=found.digest, source=source, candidate=number, loss=figures.loss)


def _source(found: Found, folder: Path) -> str:
    if found.passport is None:
        return f"imported from {folder}"
    return f"imported: version {found.passport.version} of {found.passport.feed}"


def _first(pipeline: Pipeline, settings: Settings, registry: Registry, found: Found, given: Given) -> Imported:
    if settings.kafka.bootstrap is None:
        raise ConfigError(
            f"pipeline {pipeline.name!r} has no version yet, and its broker is embedded: each run begins such a feed "
            "anew. Set kafka.bootstrap, or import into the run once it has learned something"
        )
    with users_code("the first version"):
        made = bootstrap(pipeline, registry, engines=settings.serve.engines, given=given)
    if not made:
        raise ConfigError(f"somebody else has just made a first version of {pipeline.name!r}: look at `versions`")
    return Imported(feed=pipeline.name, artifact=found.digest, source=given.source)


def _check_new(registry: Registry, digest: str) -> None:
    for version in registry.records(CHAMPIONS):
        if version.artifact == digest:
            raise ConfigError(
                f"version {version.number} is this artifact: `shadowstream promote` has it serve on your word"
            )
    for candidate in registry.records(CANDIDATES):
        if candidate.artifact == digest:
            raise ConfigError(f"candidate {candidate.number} is this artifact already")


def _newest(pipeline: Pipeline, registry: Registry) -> tuple[Data, Task, Commit]:
    """Return the newest samples, the task as the learner measures it, and the newest commit."""
    last = next(backwards(registry))
    samples = [one for commit in newest(backwards(registry), pipeline.online.replay) for one in commit.read()]
    if not samples:
        raise ConfigError(
            f"pipeline {pipeline.name!r} has learned no sample yet, after which a candidate could be tested; import "
            "once `status` shows some"
        )
    task = pipeline.task
    if isinstance(task, Scaled) and last.scale is not None:
        task = cast(Task, task.at(Scale(*last.scale)))
    return pipeline.encoder().data(samples, task), task, last


def _measured(pipeline: Pipeline, model: torch.nn.Module, found: Found, data: Data, task: Task) -> Figures:
    """Measure an artifact on the newest samples, as a candidate of ours is on those held out.

    Raises:
        ConfigError: an answer is not finite, or is none of the task's.
    """
    began_s, (_, held) = time.perf_counter(), data.split() if len(data) > 1 else (data, data)
    with users_code("the imported model"):
        try:
            outputs = checked(answers(model, held.rows), len(held), pipeline.task.outputs)
        except Unsuited as wrong:
            raise ConfigError(f"the imported model does not suit {pipeline.name!r}: {one_line(wrong)}") from None
    if not bool(outputs.isfinite().all()):
        raise ConfigError("the imported model answers some of the newest samples with numbers that are not finite")
    described = artifact.describe(found.packed)
    return Figures(
        sparsity=described.sparsity,
        artifact_bytes=described.bytes,
        float_bytes=described.float_bytes,
        parity_largest=0.0,
        parity_changed=0.0,
        loss=finite(float(task.losses(outputs, held.labels).mean())),
        teacher_loss=None,
        seconds=time.perf_counter() - began_s,
    )
