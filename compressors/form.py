"""The training form: a plain model whose layers carry masks and compute as the artifact will.

Owns which layers are compressed and how each kind computes under masks and fake quantization. Does not know how masks
are chosen, or files. A layer is compressed in its place: it keeps its parameters, their names, and its hooks. What
stays as it is, and why, is listed by `left`.
"""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any, ClassVar, NamedTuple, cast

import torch
from torch import Tensor, nn

from compressors.quantize import MOST_INPUTS, QuantizedLinear, Rounded, Seen, row_scale, weight_levels
from compressors.recipe import Kind, Quantize, Recipe

MOST_REASONS = 3  # in a message
RANGE_RATE = 0.01  # of a static input range, by batch


class Shadow(nn.Module):
    """What compressed layers share. A weight's mask is a buffer of zeros and ones, named as the weight is.

    Masks have the weight's dtype: a bool one costs five times the multiplication. `spec` says how the layer is
    quantized, None not at all; a `served` layer's weights are already what they will be. Static inputs have a buffer
    `input_range`, the moving average of the largest magnitude of a batch; it stands still in eval mode.
    """

    kind: ClassVar[Kind]
    names: ClassVar[tuple[str, ...]] = ("weight",)
    row_dims: ClassVar[int] = 0  # dimensions of the input that share a scale
    spec: Quantize | None
    prunable: bool
    served: bool
    input_range: Tensor
    mask: Tensor

    def begin(self, spec: Quantize | None, *, prunable: bool = False, served: bool = False) -> None:
        """Become compressed, with nothing pruned yet."""
        if spec and not self.row_dims:
            spec = replace(spec, inputs="float")
        self.spec, self.prunable, self.served = spec, prunable, served
        for name in self.weight_names():
            if not served:
                self.register_buffer(mask_name(name), torch.ones_like(getattr(self, name), requires_grad=False))
        if spec and spec.inputs == "static":
            self.register_buffer("input_range", torch.zeros(()))

    def weight_names(self) -> tuple[str, ...]:
        """Name the parameters that are compressed."""
        return self.names

    def weight_as_served(self, name: str = "weight") -> Tensor:
        """Give a weight under its mask, rounded; gradients pass as if it were not."""
        weight: Tensor = getattr(self, name)
        if self.served:
            return weight
        shown: Tensor = Rounded.apply(weight, getattr(self, mask_name(name)), self.spec)  # type: ignore[no-untyped-call]
        return shown

    def seen(self, x: Tensor) -> Tensor:
        """Give the inputs as the layer will see them."""
        if self.spec is None or self.spec.inputs == "float":
            return x
        if self.spec.inputs == "static":
            if self.training and not self.served:
                self._follow(x.detach().abs().amax())
            scale = self.input_range.clamp_min(1e-30) / 127
        else:
            scale = row_scale(x, min(self.row_dims, x.dim()))
        shown: Tensor = Seen.apply(x, scale)  # type: ignore[no-untyped-call]
        return shown

    def _follow(self, largest: Tensor) -> None:
        self.input_range.copy_(torch.where(self.input_range == 0, largest, self.input_range.lerp(largest, RANGE_RATE)))


class ShadowLinear(Shadow, nn.Linear):
    """Maps (..., I) to (..., O); a row is the last dimension."""

    kind = "linear"
    row_dims = 1

    def forward(self, x: Tensor) -> Tensor:
        """Compute as the artifact will; whole rows of whole numbers the fast way."""
        if self.served or self.spec is None or self.spec.inputs != "row":
            return nn.functional.linear(self.seen(x), self.weight_as_served(), self.bias)
        rows = x if x.dim() == 2 else x.reshape(-1, self.in_features)
        levels = weight_levels(self.spec.bits)
        out: Tensor = QuantizedLinear.apply(rows, self.weight, self.mask, self.bias, levels)  # type: ignore[no-untyped-call]
        return out if x.dim() == 2 else out.reshape(*x.shape[:-1], self.out_features)


class ShadowConv1d(Shadow, nn.Conv1d):
    """A row is one sample (C, L)."""

    kind = "conv"
    row_dims = 2

    def forward(self, x: Tensor) -> Tensor:
        """Compute as the artifact will."""
        out: Tensor = self._conv_forward(self.seen(x), self.weight_as_served(), self.bias)
        return out


class ShadowConv2d(Shadow, nn.Conv2d):
    """A row is one sample (C, H, W)."""

    kind = "conv"
    row_dims = 3

    def forward(self, x: Tensor) -> Tensor:
        """Compute as the artifact will."""
        out: Tensor = self._conv_forward(self.seen(x), self.weight_as_served(), self.bias)
        return out


class ShadowEmbedding(Shadow, nn.Embedding):
    """Only the rows that are looked up are rounded; each has a scale of its own."""

    kind = "embedding"

    def forward(self, input: Tensor) -> Tensor:
        """Look up (...) and give (..., D)."""
        rows, at = super().forward(input), input.reshape(-1)
        if self.served:
            return rows
        mask = self.mask[at].reshape(rows.shape).reshape(-1, rows.shape[-1])
        shown: Tensor = Rounded.apply(rows.reshape(-1, rows.shape[-1]), mask, self.spec)  # type: ignore[no-untyped-call]
        return shown.reshape(rows.shape)


class ShadowRecurrent(Shadow, nn.RNNBase):
    """LSTM, GRU and RNN: all their matrices, by gate row."""

    kind = "recurrent"

    def weight_names(self) -> tuple[str, ...]:
        """Name the parameters that are compressed."""
        return tuple(name for name in self._flat_weights_names if name.startswith("weight"))

    def forward(self, *inputs: Any) -> Any:
        """Compute with the weights as they will be served."""
        kept, names = self._flat_weights, set(self.weight_names())
        self._flat_weights = [
            self.weight_as_served(name) if name in names else weight
            for name, weight in zip(self._flat_weights_names, kept, strict=True)
        ]
        try:
            return super().forward(*inputs)
        finally:
            self._flat_weights = kept


class ShadowLSTM(ShadowRecurrent, nn.LSTM):
    """An LSTM."""


class ShadowGRU(ShadowRecurrent, nn.GRU):
    """A GRU."""


class ShadowRNN(ShadowRecurrent, nn.RNN):
    """A plain recurrent net."""


SHADOWS: dict[type[nn.Module], type[Shadow]] = {
    nn.Linear: ShadowLinear,
    nn.Conv1d: ShadowConv1d,
    nn.Conv2d: ShadowConv2d,
    nn.Embedding: ShadowEmbedding,
    nn.LSTM: ShadowLSTM,
    nn.GRU: ShadowGRU,
    nn.RNN: ShadowRNN,
}


class Weight(NamedTuple):
    """One compressed weight: its name in the `state_dict`, the parameter, its mask, and its layer."""

    name: str
    value: nn.Parameter
    mask: Tensor
    layer: Shadow


def training_form(model: nn.Module, recipe: Recipe) -> nn.Module:
    """Turn a plain model into training form, in place, with nothing pruned yet; gives the model back.

    Parameters stay the same objects under the same names, so a plain `state_dict` fits except for the masks. A weight
    that two layers share has one mask.

    Raises:
        ValueError: the model has no layer that the recipe, or one of its steps, compresses, or a weight that two layers
            share would be stored in two ways.
    """
    quantized, pruned = recipe.quantized(), recipe.pruned()
    for layer in _chosen(model, pruned | quantized.keys()):
        made = shadow(layer)
        made.begin(quantized.get(made.kind), prunable=made.kind in pruned)
    first: dict[nn.Parameter, Weight] = {}
    for weight in _each(model):
        shared = first.setdefault(weight.value, weight)
        weight.layer.register_buffer(_mask_of(weight.layer, weight.value), shared.mask)
        _check_shared(shared, weight)
    if not find(model):
        reasons = [f"{name or 'the model'}: {why}" for name, why in left(model).items()][:MOST_REASONS]
        raise ValueError(f"the model has no compressed layer ({'; '.join(reasons) or 'it has no parameters'})")
    recipe.check({layer.kind for layer in model.modules() if isinstance(layer, Shadow)})
    return model


def _check_shared(one: Weight, other: Weight) -> None:
    a, b = ((spec.weights, spec.group) if (spec := w.layer.spec) else ("float", None) for w in (one, other))
    if a != b:
        raise ValueError(
            f"{one.name} and {other.name} are one weight, and as {one.layer.kind} it would be {_numbers(*a)}, as "
            f"{other.layer.kind} {_numbers(*b)}: quantize both kinds in one step, or neither"
        )


def _numbers(weights: str, group: int | None) -> str:
    return f"{weights} in groups of {group}" if group else weights


def _chosen(model: nn.Module, kinds: set[Kind]) -> list[nn.Module]:
    """Give the layers to compress: not those that share a weight with one that is not."""
    named = dict(model.named_modules())
    chosen = {m for n, m in named.items() if type(m) in SHADOWS and SHADOWS[type(m)].kind in kinds}
    chosen = {m for n, m in named.items() if m in chosen and reason(model, n, m) is None}
    others = {p for m in named.values() if m not in chosen for p in m.parameters(recurse=False)}
    return [m for m in named.values() if m in chosen and others.isdisjoint(m.parameters(recurse=False))]


def shadow(layer: nn.Module) -> Shadow:
    """Make a plain layer of a kind that can be compressed a shadow, in place; `begin` is next."""
    layer.__class__ = SHADOWS[type(layer)]
    return cast(Shadow, layer)


def reason(model: nn.Module, name: str, layer: nn.Module) -> str | None:
    """Say why a layer stays as it is, or None if it can be compressed."""
    if type(layer) not in SHADOWS:
        return f"a {type(layer).__name__} is not compressed"
    owner = model.get_submodule(name.rpartition(".")[0])
    if name and isinstance(owner, nn.TransformerEncoderLayer):
        return "TransformerEncoderLayer reads its weights past the layer's forward"
    if isinstance(layer, nn.Linear) and not 0 < layer.in_features <= MOST_INPUTS:
        return f"{layer.in_features} inputs: an int32 sum holds 1 to {MOST_INPUTS}"
    if isinstance(layer, nn.Embedding) and (layer.max_norm is not None or layer.sparse):
        return "an embedding with max_norm or sparse gradients changes its weights itself"
    return None


def weights(form: nn.Module) -> dict[str, Weight]:
    """Give the compressed weights by their name in the `state_dict`, one that is shared only once.

    Raises:
        ValueError: there is none, so this is no training form.
    """
    if not (found := find(form)):
        raise ValueError("the model has no compressed layer; make its training form with training_form()")
    return found


def find(model: nn.Module) -> dict[str, Weight]:
    """As `weights`, for a model that need not have any."""
    found: dict[nn.Parameter, Weight] = {}
    for weight in _each(model):
        found.setdefault(weight.value, weight)
    return {weight.name: weight for weight in found.values()}


def left(form: nn.Module) -> dict[str, str]:
    """Give what stays in float, by module: those with parameters of their own that are not compressed, and why."""
    named = form.named_modules()
    return {
        name: reason(form, name, layer)
        or "the recipe does not name its kind, or it shares its weight with such a layer"
        for name, layer in named
        if not isinstance(layer, Shadow) and any(True for _ in layer.parameters(recurse=False))
    }


def mask_name(weight: str) -> str:
    """Name a weight's mask."""
    return weight.replace("weight", "mask", 1)


def _each(form: nn.Module) -> Iterator[Weight]:
    for path, layer in form.named_modules():
        if isinstance(layer, Shadow) and not layer.served:
            for name in layer.weight_names():
                full = f"{path}.{name}" if path else name
                yield Weight(full, getattr(layer, name), getattr(layer, mask_name(name)), layer)


def _mask_of(layer: Shadow, value: nn.Parameter) -> str:
    return next(mask_name(name) for name in layer.weight_names() if getattr(layer, name) is value)
