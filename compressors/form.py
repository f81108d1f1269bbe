"""The training form: a plain model whose Linear layers carry masks and compute as the int8 artifact will.

Owns which layers are compressed and their training-time module. Does not know how masks are chosen, or files.
Embeddings, LayerNorm and everything else stay in float and are listed by `left`.
"""

from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn

from compressors.quantize import MOST_INPUTS, QuantizedLinear, weight_levels
from compressors.recipe import Recipe


class ShadowLinear(nn.Module):
    """A Linear under a mask and fake quantization. Takes over the plain layer's parameters, under the same names.

    `mask` (O, I) is a buffer of zeros and ones in the weight's dtype: a bool one costs five times the multiplication.
    """

    mask: Tensor
    bias: nn.Parameter | None

    def __init__(self, plain: nn.Linear, levels: int) -> None:
        super().__init__()
        self.in_features, self.out_features, self.levels = plain.in_features, plain.out_features, levels
        self.weight = plain.weight
        self.register_parameter("bias", plain.bias)
        self.register_buffer("mask", torch.ones_like(plain.weight, requires_grad=False))
        self.train(plain.training)

    def forward(self, x: Tensor) -> Tensor:
        """Map (..., I) to (..., O); a row is the last dimension."""
        rows = x if x.dim() == 2 else x.reshape(-1, self.in_features)
        out: Tensor = QuantizedLinear.apply(rows, self.weight, self.mask, self.bias, self.levels)  # type: ignore[no-untyped-call]
        return out if x.dim() == 2 else out.reshape(*x.shape[:-1], self.out_features)


def training_form(model: nn.Module, recipe: Recipe) -> nn.Module:
    """Turn a plain model into training form, in place, with nothing pruned yet (see `prune.prune_amount`).

    Parameters stay the same objects under the same names, so a plain `state_dict` fits except for the masks. Give back
    the model (another object only if it was a single Linear).

    Raises:
        ValueError: the model has no Linear layer to compress.
    """
    levels = weight_levels(recipe.quantize.bits)
    form = replace_linears(model, lambda _, plain: ShadowLinear(plain, levels))
    layers(form)
    return form


def replace_linears(model: nn.Module, make: Callable[[str, nn.Linear], nn.Module]) -> nn.Module:
    """Put `make(name, layer)` in the place of every compressible Linear; a layer shared by two names stays shared.

    Left alone are subclasses of Linear and the layers of `TransformerEncoderLayer`, whose owners may read the weights
    past the module's forward, and layers with no inputs or with more than an int32 sum can hold.
    """
    made: dict[nn.Module, nn.Module] = {}
    for name, old in list(model.named_modules(remove_duplicate=False)):
        if type(old) is not nn.Linear or not 0 < old.in_features <= MOST_INPUTS:
            continue
        parent, _, child = name.rpartition(".")
        owner = model.get_submodule(parent)
        if isinstance(owner, nn.TransformerEncoderLayer):
            continue
        if old not in made:
            made[old] = make(name, old)
        if not name:
            return made[old]
        setattr(owner, child, made[old])
    return model


def layers(form: nn.Module) -> dict[str, ShadowLinear]:
    """Give the compressed layers by name, each once.

    Raises:
        ValueError: there is none, so this is no training form.
    """
    found = {name: layer for name, layer in form.named_modules() if isinstance(layer, ShadowLinear)}
    if not found:
        raise ValueError("the model has no compressed Linear layer; make its training form with training_form()")
    return found


def left(form: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """Give the tensors outside the compressed layers, which stay as they are, by their name in the `state_dict`."""
    compressed = {n for n, layer in form.named_modules(remove_duplicate=False) if isinstance(layer, ShadowLinear)}
    return ((name, t) for name, t in form.state_dict().items() if name.rpartition(".")[0] not in compressed)
