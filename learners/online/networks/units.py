"""Whole units that a recipe removes from the shadow, once, after the teacher has studied; and how a state records that.

Owns the smaller model, and the record: JSON, {"steps": the prune_structured steps as text, "shapes": what
`compressors.pruning.shapes` records}. Does not know optimizers or averages.
"""

import copy
import json
from typing import Any

import torch
from torch import Tensor, nn

from compressors.carry_out import remove_units, why_left
from compressors.data import Data
from compressors.pruning.shapes import reshape, shapes
from compressors.recipe import PruneStructured, Recipe
from learners.tasks.task import Task
from streams.errors import ConfigError


def remove(model: nn.Module, recipe: Recipe, data: Data, task: Task, teacher: nn.Module, seed: int) -> dict[str, Any]:
    """Remove the recipe's units from a plain model, in place; return its new shapes. `teacher` is the model as it was.

    Raises:
        ConfigError: there are no units to remove; the message says why.
    """
    removals, _ = recipe.split()
    removed, _ = remove_units(model, removals, data, task, teacher, seed)
    if not (smaller := shapes(teacher, model)):
        raise ConfigError(f"the recipe '{recipe}' found no units to remove: {why_left(removed)}")
    return smaller


def smaller(plain: nn.Module, shapes: dict[str, Any]) -> nn.Module:
    """Return a copy of a plain model in other shapes; a weight whose shape differs is all zero.

    Raises:
        ConfigError: the shapes are those of another model.
    """
    model = copy.deepcopy(plain)
    try:
        reshape(model, shapes)
    except ValueError as wrong:
        raise ConfigError(f"the state's shadow was made of another model than this one: {wrong}") from wrong
    return model


def pack(recipe: Recipe, shapes: dict[str, Any]) -> Tensor:
    """Return the record as a tensor of bytes."""
    text = json.dumps({"steps": _steps(recipe), "shapes": shapes}, sort_keys=True)
    return torch.tensor(list(text.encode()), dtype=torch.uint8)


def unpack(recipe: Recipe, record: Tensor | None) -> dict[str, Any]:
    """Return the shapes of a state's shadow; {} if it has no record: then its shapes are those of its teacher.

    Raises:
        ConfigError: the state's shadow has lost units by other steps than the recipe's.
    """
    removed: dict[str, Any] = json.loads(bytes(record.tolist())) if record is not None else {"steps": "", "shapes": {}}
    if removed["steps"] != _steps(recipe):
        raise ConfigError(
            f"the state's shadow lost units by '{removed['steps'] or 'no step'}', but the recipe now has "
            f"'{_steps(recipe) or 'no such step'}': what is removed stays removed; put these steps back, or begin a "
            "new feed"
        )
    shapes: dict[str, Any] = removed["shapes"]
    return shapes


def _steps(recipe: Recipe) -> str:
    return str(Recipe(*(step for step in recipe.steps if isinstance(step, PruneStructured))))
