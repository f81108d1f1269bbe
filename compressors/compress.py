"""A model through a recipe: the steps in their order, the artifact, and the check that both answer alike.

Owns the walk through the chain and what is measured on the way. Does not know how a step works, files, or who serves.
"""

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from compressors.artifact.format import Description
from compressors.artifact.make import make
from compressors.artifact.manifest import given, made_by, versions
from compressors.artifact.parity import Parity
from compressors.checks import check_model, check_rows, check_task
from compressors.data import Data, Losses
from compressors.distillation.train import train
from compressors.errors import Refused
from compressors.form import training_form, weights
from compressors.pruning.prune import prune
from compressors.pruning.shapes import shapes
from compressors.pruning.structured import Report, prune_structured
from compressors.quantization.layers import Shadow
from compressors.recipe import STEP_NAMES, Prune, PruneStructured, Quantize, Recipe, Retrain, Step

EXAMPLE = 4  # rows by which units are followed
CALIBRATION = 64  # batches that static ranges follow where no training follows them
Progress = Callable[[str, int, int], object]


@dataclass(frozen=True, kw_only=True)
class Compressed:
    """What became of a model: `artifact` to store, `model` to serve, the training `form` to go on learning with.

    `removed` says what each structured step took away, and what it left and why. `loss_before` and `loss_after` are
    means over the held-out rows, `loss_error` is the standard error of their difference.
    """

    recipe: Recipe
    artifact: bytes
    model: nn.Module
    form: nn.Module
    description: Description
    removed: tuple[Report, ...]
    parity: Parity
    loss_before: float
    loss_after: float
    loss_error: float


def compress(
    model: nn.Module,
    recipe: Recipe | str,
    data: Data,
    losses: Losses,
    *,
    teacher: nn.Module | None = None,
    held: Data | None = None,
    seed: int = 0,
    factory: Callable[..., nn.Module] | None = None,
    arguments: Mapping[str, Any] | None = None,
    manifest: Mapping[str, Any] | None = None,
    progress: Progress | None = None,
) -> Compressed:
    """Carry out a recipe on a copy of `model`; the teacher is the model itself if none is given.

    `data` are the rows to learn and calibrate on, oldest first, `held` those to measure on: the newest 5 % of the data
    if they are not given. `progress(step, done, steps)` is called while a step trains. The same inputs and seed give
    the same bits.

    `factory(**arguments)` makes a model like this one, arguments are JSON; the artifact tells them, and is checked in
    what they make. If only arguments are given, the factory is the model's class. `manifest` is what else it tells.

    Raises:
        ValueError: a step that this model cannot take; a model, data, a task or a factory that do not fit each other; a
            training that diverged.
        Refused: artifact and training form do not agree, or a loss on the held-out rows is not finite.
    """
    recipe = Recipe.parse(recipe) if isinstance(recipe, str) else recipe
    if not recipe.steps:
        raise ValueError("the recipe has no steps: nothing would change")
    if all(isinstance(step, Retrain) for step in recipe.steps):
        raise ValueError(f"{recipe} has no prune, prune_structured or quantize step: nothing would become smaller")
    check_model(model)
    check_rows(data, held)
    replay, held = (data, held) if held else data.split()
    plain = copy.deepcopy(model).eval()
    for rows in (replay, held):
        check_task(plain, rows, losses)
    again, told = made_by(plain, factory, arguments)
    told = given({"recipe": recipe.to_dict(), **told, "versions": versions(plain)}, manifest or {})
    form = copy.deepcopy(model)
    removed, rest = remove_units(form, recipe, replay, losses, teacher or plain, seed, progress)
    if not rest.steps and not any(report.layers for report in removed):
        raise ValueError(f"{recipe} found no units to remove: {why(removed)}")
    sizes = shapes(plain, form) if removed else None
    if rest.steps:
        form = training_form(form, rest)
        carry_out(form, rest, replay, losses, teacher=teacher or plain, seed=seed, progress=progress)
    made = make(recipe, form, plain, again, held, losses, told, sizes)
    if refusal := made.refusal:
        raise Refused(f"{recipe}: {refusal}")
    return Compressed(
        recipe=recipe,
        artifact=made.artifact,
        model=made.model,
        form=form,
        description=made.description,
        removed=removed,
        parity=made.parity,
        loss_before=made.quality.loss_before,
        loss_after=made.quality.loss_after,
        loss_error=made.quality.loss_error,
    )


def remove_units(
    model: nn.Module,
    recipe: Recipe,
    data: Data,
    losses: Losses,
    teacher: nn.Module,
    seed: int,
    said: Progress | None = None,
) -> tuple[tuple[Report, ...], Recipe]:
    """Take the steps that come before the first mask or rounding, on the plain model; give the rest of the chain.

    Those are the removal of units, the trainings before it and those that follow; none, if the recipe removes no units.
    """
    removed: list[Report] = []
    removes = any(isinstance(step, PruneStructured) for step in recipe.steps)
    for at, step in enumerate(recipe.steps):
        if isinstance(step, PruneStructured):
            removed.append(prune_structured(model, step, tuple(t[:EXAMPLE] for t in data.inputs)))
        elif isinstance(step, Retrain) and removes:
            heard = partial(said, STEP_NAMES[type(step)]) if said else None
            train(model, data, losses, step, seed, teacher=teacher, progress=heard)
        else:
            return tuple(removed), Recipe(*recipe.steps[at:])
    model.eval()
    return tuple(removed), Recipe()


def calibrate(form: nn.Module, inputs: tuple[Tensor, ...], batch: int = 64) -> None:
    """Let static input ranges follow up to 64 batches, newest last, and change nothing else; ends in eval mode."""
    form.eval()
    for layer in form.modules():
        if isinstance(layer, Shadow) and layer.spec and layer.spec.inputs == "static":
            layer.train()
    parts = list(zip(*(torch.split(t, batch) for t in inputs), strict=True))
    with torch.no_grad():
        for part in parts[-CALIBRATION:]:
            form(*part)
    form.eval()


def carry_out(
    form: nn.Module,
    recipe: Recipe,
    data: Data,
    losses: Losses,
    *,
    teacher: nn.Module,
    seed: int,
    progress: Progress | None = None,
) -> nn.Module:
    """Take the steps one after the other on a training form made for the recipe, in place; it ends in eval mode.

    Layers are rounded from their quantize step on. A prune step that rises does so over the next training step. Where
    the recipe has neither, the form is a plain model.

    Raises:
        ValueError: as `compress`.
    """
    if any(isinstance(step, Prune | Quantize) for step in recipe.steps):
        weights(form)  # refuses a plain model, where these steps would find nothing to do
    layers = {layer: layer.spec for layer in form.modules() if isinstance(layer, Shadow)}
    for layer in layers:
        layer.spec = None
    for at, step in enumerate(recipe.steps):
        if isinstance(step, Quantize):
            for layer, spec in layers.items():
                layer.spec = spec if layer.kind in (step.layers or ()) else layer.spec
            if step.inputs == "static":
                calibrate(form, data.inputs)
        elif isinstance(step, Prune) and not _ramp(recipe.steps, at):
            prune(form, step)
        elif isinstance(step, Retrain):
            rising = {  # amounts for the same layers never fall: the last one is where all end
                frozenset(s.layers): s
                for i, s in enumerate(recipe.steps[:at])
                if isinstance(s, Prune) and _ramp(recipe.steps, i) == at
            }
            name = STEP_NAMES[type(step)]
            heard = partial(progress, name) if progress else None
            train(form, data, losses, step, seed, teacher=teacher, ramps=tuple(rising.values()), progress=heard)
    return form.eval()


def _ramp(steps: tuple[Step, ...], at: int) -> int | None:
    """Give the place of the training step over which a prune step rises, None if it acts at once."""
    step = steps[at]
    if not isinstance(step, Prune) or step.amount is None or step.ramp == 0:
        return None
    return next((i for i in range(at + 1, len(steps)) if isinstance(steps[i], Retrain)), None)


def why(removed: tuple[Report, ...]) -> str:
    """Say why what is left of units was left."""
    left = [f"{name or 'the model'}: {why}" for report in removed for name, why in report.left.items()]
    return "; ".join(left) or "the model has none of those that were asked for"
