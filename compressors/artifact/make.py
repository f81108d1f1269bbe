"""A trained form becomes an artifact: packed, loaded again, compared, measured, and sealed with the results.

Owns the order of these steps and what is refused. Does not know how the form was trained, or who calls: `compress` and
the loop both make their artifacts here.
"""

import math
import warnings
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from torch import nn

from compressors.answers import answer_all
from compressors.artifact import format as artifact
from compressors.artifact.format import Description
from compressors.artifact.manifest import Quality, measured
from compressors.artifact.parity import Parity, parity_of
from compressors.data import Data, Losses, Scaled
from compressors.errors import EmptiedWarning
from compressors.recipe import Prune, Recipe


class Made(NamedTuple):
    """An artifact, the `model` that serves it, and what was measured on the held-out rows."""

    artifact: bytes
    model: nn.Module
    description: Description
    parity: Parity
    quality: Quality

    @property
    def refusal(self) -> str | None:
        """Why the artifact must not serve, or None if it may."""
        if all(map(math.isfinite, self.quality)):
            return self.parity.refusal()
        return self.parity.refusal() or f"a loss on the held-out rows is not finite: {self.quality}"


def make(
    recipe: Recipe,
    form: nn.Module,
    plain: nn.Module,
    factory: Callable[[], nn.Module],
    held: Data,
    losses: Losses,
    manifest: Mapping[str, Any],
    shapes: Mapping[str, Any] | None = None,
) -> Made:
    """Make the artifact of a training form that went through the recipe, and measure both on `held`.

    `plain` is the model before the recipe, `factory` makes one like it; form and plain are in eval mode. `manifest` is
    what the artifact says besides what is measured here. `shapes` is the record of `compressors/pruning/shapes.py` if
    units were removed. Layers that the recipe emptied cause a warning, located at the caller's caller.

    Raises:
        ValueError: as `pack`.
        ArtifactError: the factory makes another model.
    """
    packed = artifact.pack(form, {}, shapes=shapes, float_bytes=bytes_of(plain))
    served = artifact.load(packed, factory)
    trained, answered, before = answer_all([form, served, plain], held.rows)
    agreement = parity_of(trained, answered, losses.scale.mean if isinstance(losses, Scaled) else 0.0)
    quality = Quality.of(*(losses.losses(output, held.labels) for output in (before, answered)))
    packed = artifact.with_manifest(packed, {**manifest, **measured(agreement, quality)})
    description = artifact.describe(packed)
    state = plain.state_dict()
    emptied = [name for name in description.emptied if state[name].any()]
    if recipe.first(Prune) is not None and emptied:
        warnings.warn(
            f"{recipe} leaves nothing of {', '.join(emptied)}; prune with scope=lamp or scope=layer keeps "
            "weights of every layer",
            EmptiedWarning,
            stacklevel=3,
        )
    return Made(packed, served, description, agreement, quality)


def bytes_of(model: nn.Module) -> int:
    """Return the size of the model's state in bytes; a tensor with several names counts once."""
    tensors = {id(t): t for t in model.state_dict(keep_vars=True).values()}
    return sum(t.numel() * t.element_size() for t in tensors.values())
