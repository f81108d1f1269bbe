"""A recipe's steps, taken one after the other on a model: units removed, weights masked and rounded, models trained.

Owns the order in which steps take effect. Does not know how a step works, artifacts, or what is measured.
"""

from collections.abc import Callable, Mapping
from functools import partial

import torch
from torch import Tensor, nn

from compressors.data import Data, Losses
from compressors.distillation.train import train
from compressors.form import weights
from compressors.pruning.prune import prune
from compressors.pruning.structured import Report, prune_structured
from compressors.quantization.layers import Shadow
from compressors.recipe import STEP_NAMES, Prune, PruneStructured, Quantize, Recipe, Retrain, Step

EXAMPLE = 4  # rows by which units are followed
CALIBRATION = 64  # batches that static ranges follow where no training follows them
Progress = Callable[[str, int, int], object]  # a step's name, its training steps done, of how many


def remove_units(
    model: nn.Module,
    recipe: Recipe,
    data: Data,
    losses: Losses,
    teacher: nn.Module,
    seed: int,
    progress: Progress | None = None,
) -> tuple[tuple[Report, ...], Recipe]:
    """Take the steps before the first mask or rounding, in place on the plain model; return the rest of the recipe too.

    Those are the removals of units and the trainings before, between and after them. Of a recipe that removes no units
    nothing is taken.

    Raises:
        ValueError: a weight is not finite, the model does not run on the rows, or a training diverged.
    """
    removed: list[Report] = []
    removes = any(isinstance(step, PruneStructured) for step in recipe.steps)
    for at, step in enumerate(recipe.steps):
        if isinstance(step, PruneStructured):
            removed.append(prune_structured(model, step, tuple(t[:EXAMPLE] for t in data.inputs)))
        elif isinstance(step, Retrain) and removes:
            train(model, data, losses, step, seed, teacher=teacher, progress=_of(step, progress))
        else:
            return tuple(removed), Recipe(*recipe.steps[at:])
    model.eval()
    return tuple(removed), Recipe()


def why_left(removed: tuple[Report, ...]) -> str:
    """Return the reasons for which units were left in the model."""
    reasons = [f"{name or 'the model'}: {why}" for report in removed for name, why in report.left.items()]
    return "; ".join(reasons) or "the model has none of those that were asked for"


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
    """Take the steps on a training form made for the recipe, in place; return it in eval mode.

    Layers are rounded from their quantize step on. A prune step that rises does so over the next training step. For a
    recipe that has neither, `form` is a plain model.

    Raises:
        ValueError: the form is a plain model but the recipe masks or rounds, a weight is not finite, or a training
            diverged.
    """
    if any(isinstance(step, Prune | Quantize) for step in recipe.steps):
        weights(form)  # refuses a plain model, where these steps would find nothing to do
    specs = {layer: layer.spec for layer in form.modules() if isinstance(layer, Shadow)}
    for layer in specs:
        layer.spec = None
    for at, step in enumerate(recipe.steps):
        if isinstance(step, Quantize):
            _quantize(form, step, specs, data.inputs)
        elif isinstance(step, Prune) and not _ramp_end(recipe.steps, at):
            prune(form, step)
        elif isinstance(step, Retrain):
            ramps, bars = _ramps(recipe.steps, at), _of(step, progress)
            train(form, data, losses, step, seed, teacher=teacher, ramps=ramps, progress=bars)
    return form.eval()


def _of(step: Step, progress: Progress | None) -> Callable[[int, int], object] | None:
    return partial(progress, STEP_NAMES[type(step)]) if progress else None


def _quantize(
    form: nn.Module, step: Quantize, specs: Mapping[Shadow, Quantize | None], inputs: tuple[Tensor, ...]
) -> None:
    for layer, spec in specs.items():
        if layer.kind in (step.layers or ()):
            layer.spec = spec
    if step.inputs == "static":
        calibrate(form, inputs)


def calibrate(form: nn.Module, inputs: tuple[Tensor, ...], batch: int = 64) -> None:
    """Let static input ranges follow the newest 64 batches, oldest first; nothing else changes. Ends in eval mode."""
    form.eval()
    for layer in form.modules():
        if isinstance(layer, Shadow) and layer.spec and layer.spec.inputs == "static":
            layer.train()
    batches = list(zip(*(torch.split(t, batch) for t in inputs), strict=True))
    with torch.no_grad():
        for rows in batches[-CALIBRATION:]:
            form(*rows)
    form.eval()


def _ramps(steps: tuple[Step, ...], training: int) -> tuple[Prune, ...]:
    """Return the prune steps that rise over this training step, the last one of those for the same layers.

    Amounts for the same layers never fall, so the last one is where all end.
    """
    rising = {
        frozenset(step.layers): step
        for at, step in enumerate(steps[:training])
        if isinstance(step, Prune) and _ramp_end(steps, at) == training
    }
    return tuple(rising.values())


def _ramp_end(steps: tuple[Step, ...], at: int) -> int | None:
    """Return the index of the training step over which a prune step rises, None if it acts at once."""
    step = steps[at]
    if not isinstance(step, Prune) or step.amount is None or step.ramp == 0:
        return None
    return next((later for later in range(at + 1, len(steps)) if isinstance(steps[later], Retrain)), None)
