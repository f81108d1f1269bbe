"""A model through a recipe: checked, carried out on a copy, and made an artifact that answers as the trained form does.

Owns the checks before a recipe begins, and the result. Does not know how a step works, files, or who serves.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from compressors.agreement import answer, check_task, suited
from compressors.artifact.format import Description
from compressors.artifact.make import make
from compressors.artifact.manifest import joined, made_by, versions
from compressors.artifact.parity import Parity
from compressors.carry_out import Progress, carry_out, remove_units, why_left
from compressors.checks import check_learning, check_model
from compressors.data import Data, Losses, Scaled, fitted
from compressors.dry_run import ROWS, dry_run
from compressors.errors import Refused
from compressors.form import training_form
from compressors.pruning.shapes import shapes
from compressors.pruning.structured import Report
from compressors.recipe import Distill, Recipe, Retrain
from compressors.scale import standardize
from compressors.weight_reads import read_past
from compressors.wrappers import copied, unwrapped


@dataclass(frozen=True, kw_only=True)
class Compressed:
    """What `compress` returns: `artifact` to store, `model` to serve, the training `form` to go on learning with.

    `description` is what the artifact says of itself. `removed` has a report of each `prune_structured` step: the units
    it took away, and those it left and why. `parity` compares the outputs of `model` and `form`. `loss_before` and
    `loss_after` are the mean losses of the plain model and of `model` on the held-out rows, in the task's unit (nats
    for Binary and Classes); `loss_error` is the standard error of their difference.

    >>> import torch
    >>> rows = Data((torch.eye(4),), torch.tensor([0.0, 0.0, 1.0, 1.0]))
    >>> small = compress(torch.nn.Linear(4, 1), "quantize(int8)", rows, Binary())
    >>> small.model(torch.zeros(2, 4)).shape
    torch.Size([2, 1])
    >>> small.parity.changed
    0.0
    >>> small.description.bytes == len(small.artifact)
    True
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
    """Carry out a recipe on a copy of `model`, in float32, whose outputs are (N, K).

    `data` are the rows to learn and calibrate on, oldest first, `held` those to measure on: by default the newest 5 %
    of the data. `losses` is a task, such as `Binary()`. `teacher` is what a `distill` step learns from: by default the
    model itself. `progress(step, done, steps)` is called while a step trains. The same inputs and `seed` give the same
    bytes.

    `factory(**arguments)`, with arguments that are JSON, makes a model like this one. The artifact names both and is
    checked in what they make. By default the factory is the model's class if there are arguments, else a copy of the
    model is used. `manifest`, JSON too, is added to what the artifact says of itself.

    Raises:
        ValueError: a recipe that cannot be read or does not suit the model; a factory that makes another one; a
            training that diverged.
        Unsuited: model, data and task do not suit each other.
        Refused: the artifact does not answer as the training form does, or a loss on the held-out rows is not finite.

    >>> import torch
    >>> _ = torch.manual_seed(0)
    >>> x = torch.randn(500, 8)
    >>> net = torch.nn.Sequential(torch.nn.Linear(8, 64), torch.nn.ReLU(), torch.nn.Linear(64, 1))
    >>> recipe = "prune(amount=0.5, scope=lamp) -> quantize(int8) -> distill(passes=1)"
    >>> small = compress(net, recipe, Data((x,), (x[:, 0] > 0).float()), Binary())
    >>> small.description.sparsity
    0.5
    >>> [weight.weights for weight in small.description.weights.values()]
    ['int8', 'int8']
    """
    recipe = Recipe.parse(recipe) if isinstance(recipe, str) else recipe
    _check_steps(recipe)
    model = unwrapped(model)
    check_model(model)
    data, held = suited(model, data, held)
    rows, held = (data, held) if held is not None else data.split()
    plain = copied(model).eval()
    for part in (rows, held):
        check_task(plain, part, losses)
    if teacher is not None and recipe.first(Distill) is not None:
        check_task(teacher, rows, losses, "the teacher")
    remake, source = made_by(plain, factory, arguments)
    manifest = joined({"recipe": recipe.to_dict(), **source, "versions": versions(plain)}, manifest or {})
    if trains := recipe.first(Retrain) is not None:
        check_learning(plain)
    losses = fitted(losses, rows.labels)
    dry_run(plain, remake, rows, losses, trains=trains)
    few, _ = rows.batch(torch.arange(min(ROWS, len(rows))))
    past = read_past(copied(plain), few, training=trains)
    form = copied(model)
    if trains and isinstance(losses, Scaled):
        standardize(form, losses.scale, rows.rows, rows.labels)
        plain = copied(form).eval()
    removed, rest = remove_units(form, recipe, rows, losses, teacher or plain, seed, progress)
    if not rest.steps and not any(report.layers for report in removed):
        raise ValueError(f"{recipe} found no units to remove: {why_left(removed)}")
    sizes = shapes(plain, form) if removed else None
    if rest.steps:
        form = training_form(form, rest, past)
        answer(form, few, "the model with compressed layers")
        carry_out(form, rest, rows, losses, teacher=teacher or plain, seed=seed, progress=progress)
    made = make(recipe, form, plain, remake, held, losses, manifest, sizes)
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


def _check_steps(recipe: Recipe) -> None:
    if not recipe.steps:
        raise ValueError("the recipe has no steps: nothing would change")
    if all(isinstance(step, Retrain) for step in recipe.steps):
        raise ValueError(f"{recipe} has no prune, prune_structured or quantize step: nothing would become smaller")
