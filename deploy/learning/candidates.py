"""What the learner, the distiller and the first version share: a pipeline's learner, its history, and its artifacts.

Owns no state. Does not know Kafka, Redis, Ray or the registry's files.
"""

import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import islice
from numbers import Integral
from typing import Any

import torch
from torch import nn

from compressors.arguments import shown
from compressors.artifact import format as artifact
from compressors.artifact.make import Made, bytes_of, make
from compressors.artifact.manifest import finite, name_of, versions
from compressors.carry_out import carry_out
from compressors.data import Data, Scaled
from compressors.recipe import Distill, Recipe, Retrain, Step
from compressors.rows import Batch, Collated, alike, alone_alike, joined
from deploy.lineages import Lineages
from deploy.loading import users_code
from deploy.pipeline import Labelled, Pipeline
from deploy.registry.records import Champion, Figures, Privacy
from deploy.registry.registry import Registry
from learners.commits.commit import Due
from learners.evaluation.verdict import Kind
from learners.online.batches import kind
from learners.online.learner import Learner
from streams.errors import ConfigError, MalformedEvent
from streams.events import Sample, Target
from streams.returned import LABEL, as_label

FEW, REPEATS = 100, 30  # samples of a changed world, at least; how many times as often each is learned, at most
PASSES, RATE = 10, 3  # after a drift: times the recipe's own passes, and its rate
ROWS_AT_ONCE = 1_024  # rows of the history that are encoded together


def make_learner(pipeline: Pipeline, registry: Registry | None = None) -> Learner:
    """Return the pipeline's learner, untrained: a state is to be loaded, or learned from the history.

    One whose updates are private learns more than the history only with the registry, which has its secret.
    """
    return Learner(
        pipeline.model,
        pipeline.task,
        pipeline.encoder(),
        pipeline.recipe,
        pipeline.online,
        pipeline.seed,
        pipeline.experts(),
        pipeline.running_trust(),
        registry.secret() if registry and pipeline.online.private else b"",
    )


def history(pipeline: Pipeline) -> Data | None:
    """Return all rows of the pipeline's history that have a label, oldest first; None if it has none.

    It is read twice if its rows do not come out in one shape: they are then encoded in parts, whenever they are needed,
    or at least whenever they are answered.

    Raises:
        ConfigError: a row is no `Labelled`, a label is not the task's, or the rows cannot be encoded.
    """
    if pipeline.history is None:
        return None
    encoder, batches, targets, even = pipeline.encoder(), list[Batch](), list[Target](), True
    for rows in chunks(_told(pipeline.history())):
        targets += [target_of(pipeline, row) for row in rows]
        if batches and not alike(batches[0], batches[-1]):
            continue
        features = [row.features for row in rows]
        batches.append(encoder.encode(features))
        even = even if len(batches) > 1 else alone_alike(Collated(features, encoder.encode), batches[0])
    if not batches:
        return None
    dtype = kind(exact=isinstance(pipeline.task, Scaled))
    same = all(alike(batches[0], batch) for batch in batches)
    if same and even:
        return Data(joined(batches), torch.tensor(targets, dtype=dtype))
    source = Collated([row.features for row in _told(pipeline.history())], encoder.encode)
    return Data(replace(joined(batches), source=source) if same else source, torch.tensor(targets, dtype=dtype))


def waits(row: Labelled) -> bool:
    """Return whether nothing has come of a row of history yet: of label and times it has `t_ms` alone."""
    label, t_ms, label_t_ms = (getattr(row, name, row) for name in ("label", "t_ms", "label_t_ms"))
    return label is None and label_t_ms is None and t_ms is not None


def _told(rows: Iterable[Labelled]) -> Iterator[Labelled]:
    return (row for row in rows if not waits(row))


def target_of(pipeline: Pipeline, row: Labelled) -> Target:
    """Return what the task makes of the label of a row of history.

    Raises:
        ConfigError: the row is no `Labelled`, or its label is not the task's.
    """
    where = f"pipeline {pipeline.name!r}: history"
    label = as_label(getattr(row, "label", None))
    if label is None:
        raise ConfigError(
            f"{where} yields Labelled(features, label), got {shown(row)}; a label is {LABEL}, or None where "
            "the row still waits: it then has t_ms and no label_t_ms"
        )
    try:
        with users_code(f"{where}: task.target"):
            return pipeline.task.target(label)
    except MalformedEvent as wrong:
        raise ConfigError(f"{where}: {wrong}") from wrong


def times_of(pipeline: Pipeline, row: Labelled) -> tuple[int, int | None] | None:
    """Return when a row of history was asked, and when its outcome came, None if it waits; None where it has no times.

    Raises:
        ConfigError: it has one of the two, or they are no times.
    """
    t_ms, label_t_ms = getattr(row, "t_ms", None), getattr(row, "label_t_ms", None)
    if t_ms is None and label_t_ms is None:
        return None
    if isinstance(t_ms, Integral) and int(t_ms) >= 0 and waits(row):
        return int(t_ms), None
    if isinstance(t_ms, Integral) and isinstance(label_t_ms, Integral) and 0 <= int(t_ms) <= int(label_t_ms):
        return int(t_ms), int(label_t_ms)
    raise ConfigError(
        f"pipeline {pipeline.name!r}: history: t_ms and label_t_ms are whole milliseconds since 1970, the outcome's no "
        f"earlier, or both None; got {shown(t_ms)} and {shown(label_t_ms)}; a row that still waits has t_ms alone, "
        "and the label None"
    )


def chunks(rows: Iterator[Labelled]) -> Iterator[Sequence[Labelled]]:
    """Cut rows of a history into parts."""
    while chunk := list(islice(rows, ROWS_AT_ONCE)):
        yield chunk


def provenance(pipeline: Pipeline, model: nn.Module) -> dict[str, Any]:
    """Return what an artifact of the pipeline's model says of its making; figures are added when they are measured."""
    made_from = {"pipeline": pipeline.name, "recipe": pipeline.recipe.to_dict(), "versions": versions(model)}
    return made_from | name_of(pipeline.model) | {"arguments": {}}


def privacy(pipeline: Pipeline, rounds: int) -> Privacy | None:
    """Return the privacy of weights that learned each sample so often; None where updates are not private."""
    private = pipeline.online.private
    return Privacy(epsilon=private.epsilon(rounds), delta=private.delta) if private else None


def distil(
    pipeline: Pipeline, learner: Learner, samples: Sequence[Sample], due: Due | None = None
) -> tuple[Made, Figures, Data]:
    """Make a candidate of the learner's state, with these samples as its replay; return them too, as rows.

    Once the world has changed, only samples since then are replayed, and learned from their labels alone: the teacher
    knows the world before. A candidate that is `due` to that begins at weights that are shrunk and perturbed. Where
    updates are private, the history is the replay: what is made without the feed's samples tells no more of them.

    Raises:
        ValueError: as `compressors.compress.compress`.
    """
    _, recipe = pipeline.recipe.split()
    past, student = history(pipeline) if pipeline.online.private else None, learner.shadow.student()
    if past is None:
        samples = since(learner, samples)
        if due is not None and due.since_ms is not None and recipe.first(Retrain) is not None:
            student, recipe = learner.renewed(), by_labels(recipe, PASSES, RATE)
        elif learner.changed_ms >= 0 and (times := pipeline.online.replay // max(1, len(samples))) > 1:
            recipe = by_labels(recipe, min(REPEATS, times))
    data = past or pipeline.encoder().data(samples, learner.task)
    made, figures = compress(pipeline, learner, student, data, recipe)
    return made, figures, data


def average(pipeline: Pipeline, learner: Learner) -> bytes:
    """Return the artifact of the shadow's average, as it is.

    Raises:
        ValueError: a weight is not finite.
    """
    made_from = provenance(pipeline, learner.teacher.model) | {"average": True}
    return artifact.pack(learner.shadow.mean, made_from, shapes=learner.shapes, float_bytes=_float_bytes(learner))


def _float_bytes(learner: Learner) -> int | None:
    """Return the size of the model before units were removed; None where none were."""
    return bytes_of(learner.teacher.model) if learner.shapes else None


def kind_beside(served: Champion | None, pipeline: Pipeline, lineages: Lineages, registry: Registry) -> Kind:
    """Return what is made now is to a version: a refresh of the same model by the same recipe, or another.

    Raises:
        RegistryError: the version's artifact is missing.
    """
    manifest = artifact.describe(registry.get(served.artifact)).manifest if served else {}
    recipe = Recipe.from_dict(manifest["recipe"]) if "recipe" in manifest else None
    same = served is not None and lineages.today(served) and recipe == pipeline.recipe
    return Kind.REFRESH if same else Kind.OTHER


def since(learner: Learner, samples: Sequence[Sample]) -> Sequence[Sample]:
    """Return the samples asked since the world changed last; all of them where it did not, or these are too few."""
    newer = [sample for sample in samples if sample.prediction.t > learner.changed_ms]
    return newer if len(newer) >= FEW else samples


def by_labels(recipe: Recipe, passes: int, rate: int = 1) -> Recipe:
    """Return a recipe that trains so many times as often, at so many times the rate, and without a teacher."""

    def changed(step: Step) -> Step:
        if not isinstance(step, Retrain):
            return step
        given: dict[str, Any] = {"passes": passes * step.passes, "learning_rate": rate * step.learning_rate}
        return replace(step, **given, alpha=0.0) if isinstance(step, Distill) else replace(step, **given)

    return Recipe(*map(changed, recipe.steps))


def compress(
    pipeline: Pipeline, learner: Learner, student: nn.Module, data: Data, recipe: Recipe | None = None
) -> tuple[Made, Figures]:
    """Distil the learner's teacher into the student, a training form, on the older rows; measure it on the newest.

    `recipe` is what every version takes, by default the pipeline's: the student's units are removed already. The
    figures are those of a candidate's record. An artifact that is refused is returned as well, with the reason.

    Raises:
        ValueError: as `compressors.compress.compress`.
    """
    began_s = time.perf_counter()
    teacher, task = learner.teacher.mean, learner.task
    replay, held_out = data.split() if len(data) > 1 else (data, data)
    recipe = pipeline.recipe.split()[1] if recipe is None else recipe
    carry_out(student, recipe, replay, task, teacher=teacher, seed=pipeline.seed)
    made = make(
        pipeline.recipe, student, teacher.eval(), pipeline.model, held_out, task,
        provenance(pipeline, teacher), learner.shapes,
    )  # fmt: skip
    return made, _figures(made, time.perf_counter() - began_s)


def _figures(made: Made, seconds: float) -> Figures:
    return Figures(
        sparsity=made.description.sparsity,
        artifact_bytes=made.description.bytes,
        float_bytes=made.description.float_bytes,
        parity_largest=finite(made.parity.largest),
        parity_changed=finite(made.parity.changed),
        loss=finite(made.quality.loss_after),
        teacher_loss=finite(made.quality.loss_before),
        seconds=seconds,
    )
