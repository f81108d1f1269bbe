"""A recipe's steps, carried out on a model one after the other: units removed, weights masked and rounded, trained.

Owns the order in which steps take effect. Does not know how a step works, artifacts, or what is measured.
"""

from collections.abc import Callable, Mapping
from functools import partial

import torch
from torch import Tensor, nn

from compressors.answers import as_rows
from compressors.data import Data, Losses
from compressors.distillation.train import train
from compressors.form import weights
from compressors.pruning.prune import prune, set_aside
from compressors.pruning.structured import Report, prune_structured
from compressors.quantization.layers import Shadow
from compressors.recipe import STEP_NAMES, Prune, PruneStructured, Quantize, Recipe, Retrain, Step
from compressors.rows import Rows

EXAMPLE = 4  # rows with which units are traced through the model
CALIBRATION = 64  # batches on which static input ranges are calibrated
Progress = Callable[[str, int, int], object]  # a step's name, how many of its training steps are done, of how many


def remove_units(
    model: nn.Module,
    recipe: Recipe,
    data: Data,
    losses: Losses,
    teacher: nn.Module,
    seed: int,
    progress: Progress | None = None,
) -> tuple[tuple[Report, ...], Recipe]:
    """Carry out the steps before the first `prune` or `quantize`, in place on the plain model.

    Those are the removals of units and the trainings before, between and after them. Nothing is done for a recipe that
    removes no units. Return a report of each removal, and the rest of the recipe.

    Raises:
        ValueError: a weight is not finite, the model does not run on the rows, or a training diverged.
    """
    removed: list[Report] = []
    removes = any(isinstance(step, PruneStructured) for step in recipe.steps)
    for at, step in enumerate(recipe.steps):
        if isinstance(step, PruneStructured):
            removed.append(prune_structured(model, step, data.rows.batch(torch.arange(min(EXAMPLE, len(data))))))
        elif isinstance(step, Retrain) and removes:
            train(model, data, losses, step, seed, teacher=teacher, progress=_of(step, progress))
        else:
            return tuple(removed), Recipe(*recipe.steps[at:])
    model.eval()
    return tuple(removed), Recipe()


def why_left(removed: tuple[Report, ...]) -> str:
    """Return the reasons why units were left in the model, as one text."""
    reasons = [f"{name or 'the model'}: {why}" for report in removed for name, why in report.left.items()]
    return "; ".join(reasons) or "the model has none of this kind"


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
    """Carry out the steps on the recipe's training form, in place; return it in eval mode.

    Layers are rounded from their quantize step on. Nothing is pruned of a weight that is all zero here, or
    frozen. A prune step with a ramp takes effect over the next training step.
    If the recipe has neither prune nor quantize steps, `form` is a plain model.

    Raises:
        ValueError: the form is a plain model but the recipe prunes or quantizes, a weight is not finite, or a training
            diverged.
    """
    if any(isinstance(step, Prune | Quantize) for step in recipe.steps):
        weights(form)  # refuses a plain model, on which these steps would do nothing
    set_aside(form)
    specs = {layer: layer.spec for layer in form.modules() if isinstance(layer, Shadow)}
    for layer in specs:
        layer.spec = None
    for at, step in enumerate(recipe.steps):
        if isinstance(step, Quantize):
            _quantize(form, step, specs, data.rows)
        elif isinstance(step, Prune) and not _ramp_end(recipe.steps, at):
            prune(form, step)
        elif isinstance(step, Retrain):
            ramps, bars = _ramps(recipe.steps, at), _of(step, progress)
            train(form, data, losses, step, seed, teacher=teacher, ramps=ramps, progress=bars)
    return form.eval()


def _of(step: Step, progress: Progress | None) -> Callable[[int, int], object] | None:
    return partial(progress, STEP_NAMES[type(step)]) if progress else None


def _quantize(form: nn.Module, step: Quantize, specs: Mapping[Shadow, Quantize | None], rows: Rows) -> None:
    for layer, spec in specs.items():
        if layer.kind in (step.layers or ()):
            layer.spec = spec
    if step.inputs == "static":
        calibrate(form, rows)


def calibrate(form: nn.Module, rows: Rows | tuple[Tensor, ...], batch: int = 64) -> None:
    """Calibrate static input ranges on the newest 64 batches, oldest first. The form ends in eval mode."""
    given = as_rows(rows)
    form.eval()
    for layer in form.modules():
        if isinstance(layer, Shadow) and layer.spec and layer.spec.inputs == "static":
            layer.train()
    with torch.no_grad():
        for chosen in torch.split(torch.arange(len(given)), batch)[-CALIBRATION:]:
            form(*given.batch(chosen))
    form.eval()


def _ramps(steps: tuple[Step, ...], training: int) -> tuple[Prune, ...]:
    """Return the prune steps whose ramp is this training step, for each set of layers the last one.

    Amounts for the same layers never fall, so the last one is also the highest.
    """
    rising = {
        frozenset(step.layers): step
        for at, step in enumerate(steps[:training])
        if isinstance(step, Prune) and _ramp_end(steps, at) == training
    }
    return tuple(rising.values())


def _ramp_end(steps: tuple[Step, ...], at: int) -> int | None:
    """Return the index of the training step that is a prune step's ramp, None if the step acts at once."""
    step = steps[at]
    if not isinstance(step, Prune) or step.amount is None or step.ramp == 0:
        return None
    return next((later for later in range(at + 1, len(steps)) if isinstance(steps[later], Retrain)), None)
