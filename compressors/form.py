"""The training form: a plain model whose layers carry masks and compute as the artifact will.

Owns which layers are compressed, and finds their weights; `left` lists what stays in float, and why. Does not know how
a layer computes, how masks are chosen, or files.
"""

from collections.abc import Iterable, Iterator, Mapping, Set
from typing import NamedTuple, cast

from torch import Tensor, nn
from torch.nn.utils import parametrize

from compressors.internals import NonDynamicallyQuantizableLinear
from compressors.quantization.attention import ShadowMultiheadAttention
from compressors.quantization.layers import (
    Shadow,
    ShadowConv1d,
    ShadowConv2d,
    ShadowEmbedding,
    ShadowGRU,
    ShadowLinear,
    ShadowLSTM,
    ShadowRNN,
    ShadowTransposed,
    mask_name,
)
from compressors.quantization.quantize import MOST_INPUTS
from compressors.recipe import Kind, Quantize, Recipe

MOST_REASONS = 3  # in a message
UNREAD = "it is part of a MultiheadAttention that stays in float, and never runs: that one reads its weight itself"
PARAMETRIZED = (
    "its weight is computed by a parametrization: torch.nn.utils.parametrize.remove_parametrizations(layer, 'weight') "
    "makes a plain one of it"
)
NOTE = "stays_in_float"  # an attribute of layers: why
UNNAMED = "no step of the recipe is for its kind, or it shares its weight with such a layer or a transposed one"

SHADOWS: dict[type[nn.Module], type[Shadow]] = {
    nn.Linear: ShadowLinear,
    NonDynamicallyQuantizableLinear: ShadowLinear,  # out_proj of MultiheadAttention
    nn.MultiheadAttention: ShadowMultiheadAttention,
    nn.Conv1d: ShadowConv1d,
    nn.Conv2d: ShadowConv2d,
    nn.Embedding: ShadowEmbedding,
    nn.LSTM: ShadowLSTM,
    nn.GRU: ShadowGRU,
    nn.RNN: ShadowRNN,
}
BY_NAME: dict[str, type[Shadow]] = {"transformers.pytorch_utils.Conv1D": ShadowTransposed}  # not imported: optional


class Weight(NamedTuple):
    """One weight to compress: its name in the `state_dict`, the parameter, its mask, and its layer."""

    name: str
    value: nn.Parameter
    mask: Tensor
    layer: Shadow


def training_form(model: nn.Module, recipe: Recipe, past: Mapping[str, str] | None = None) -> nn.Module:
    """Turn a plain model into its training form, in place, with nothing pruned yet; return it.

    Parameters stay the same objects under the same names, so a plain `state_dict` fits except for the masks. A weight
    that two layers share has one mask. `past` are the weights that must stay in float, by name, and why: those that
    `compressors.weight_reads.read_past` returns.

    Raises:
        ValueError: a prune or quantize step has no layer to act on, or a weight that two layers share would be stored
            in two ways.
    """
    quantized, pruned = recipe.quantized(), recipe.pruned()
    _note(model, quantized, past or {})
    for layer in _chosen(model, quantized, pruned):
        made = shadow(layer)
        spec = quantized.get(made.kind)
        made.begin(None if too_wide(layer, spec) else spec, prunable=made.kind in pruned)
    open_encoders(model)
    first: dict[nn.Parameter, Weight] = {}
    for weight in _each(model):
        shared = first.setdefault(weight.value, weight)
        weight.layer.register_buffer(_mask_of(weight.layer, weight.value), shared.mask)
        _check_shared(shared, weight)
    reasons = [f"{name or 'the model'}: {why}" for name, why in left(model).items()][:MOST_REASONS]
    why = "; ".join(reasons) or "it has no parameters"
    if not find(model):
        raise ValueError(f"the recipe compresses no layer of the model ({why})")
    layers = [layer for layer in model.modules() if isinstance(layer, Shadow)]
    recipe.check({m.kind for m in layers if m.prunable}, {m.kind for m in layers if m.spec}, why)
    return model


def _note(model: nn.Module, quantized: Mapping[Kind, Quantize], past: Mapping[str, str]) -> None:
    """Write into the layers why they stay in float, where only the recipe or a run of the model says so."""
    for path, layer in model.named_modules(remove_duplicate=False):
        for name in weights_of(layer):
            if why := past.get(f"{path}.{name}" if path else name):
                vars(layer)[NOTE] = why
        becomes = shadow_type(layer)
        if becomes and NOTE not in vars(layer) and (why := too_wide(layer, quantized.get(becomes.kind))):
            vars(layer)[NOTE] = why


def _check_shared(one: Weight, other: Weight) -> None:
    a, b = ((spec.weights, spec.group) if (spec := w.layer.spec) else ("float", None) for w in (one, other))
    if a != b:
        raise ValueError(
            f"{one.name} and {other.name} are one weight, and as {one.layer.kind} it would be {_numbers(*a)}, as "
            f"{other.layer.kind} {_numbers(*b)}: quantize both kinds in one step, or neither"
        )


def _numbers(weights: str, group: int | None) -> str:
    return f"{weights} in groups of {group}" if group else weights


def _chosen(model: nn.Module, quantized: Mapping[Kind, Quantize], pruned: Set[Kind]) -> list[nn.Module]:
    """Return the layers to compress: without those that share a weight with a layer that is not, or is transposed."""
    layers: dict[nn.Module, type[Shadow]] = {}
    for m in model.modules():
        becomes = shadow_type(m)
        if becomes and becomes.kind in pruned | quantized.keys():
            narrow = becomes.kind in pruned or not too_wide(m, quantized[becomes.kind])
            if narrow and reason(m) in (None, too_wide(m, quantized.get(becomes.kind))):
                layers[m] = becomes
    while True:
        unread = _unread(m for m in model.modules() if m not in layers)
        barred = {p for m in model.modules() if m not in layers for p in m.parameters(recurse=False)}
        turned, straight = (
            {p for m, becomes in layers.items() if becomes.transposed is way for p in m.parameters(recurse=False)}
            for way in (True, False)
        )
        barred |= turned & straight
        gone = {m for m in layers if m in unread or not barred.isdisjoint(m.parameters(recurse=False))}
        if not gone:
            return list(layers)
        layers = {m: becomes for m, becomes in layers.items() if m not in gone}


def _unread(plain: Iterable[nn.Module]) -> set[nn.Module]:
    """Return the layers that never run, because a plain MultiheadAttention reads their weights itself."""
    return {m.out_proj for m in plain if isinstance(m, nn.MultiheadAttention) and not isinstance(m, Shadow)}


def shadow_type(layer: nn.Module) -> type[Shadow] | None:
    """Return what a plain layer becomes, None if it cannot be compressed: a subclass may compute something else."""
    own = type(layer)
    return SHADOWS.get(own) or BY_NAME.get(f"{own.__module__}.{own.__qualname__}")


def shadow(layer: nn.Module) -> Shadow:
    """Turn a plain layer, of a kind that can be compressed, into a shadow, in place; `begin` must be called next."""
    layer.__class__ = cast(type[Shadow], shadow_type(layer))
    return cast(Shadow, layer)


def open_encoders(model: nn.Module) -> None:
    """Make torch's encoders run their layers one by one if some are compressed.

    In eval mode they would otherwise pass the layers' weights to one fused operation, and return zeros for padding.
    """
    for module in model.modules():
        if any(isinstance(part, Shadow) for part in module.modules()):
            if isinstance(module, nn.TransformerEncoderLayer):
                module.activation_relu_or_gelu = 0
            elif isinstance(module, nn.TransformerEncoder):
                module.use_nested_tensor = False


def reason(layer: nn.Module) -> str | None:
    """Return why a layer stays in float, None if it can be compressed."""
    if note := vars(layer).get(NOTE):
        return str(note)
    if isinstance(layer, parametrize.ParametrizationList) or parametrize.is_parametrized(layer):
        return PARAMETRIZED
    if shadow_type(layer) is None:
        return f"a {type(layer).__name__} is not compressed"
    if 0 in _inputs(layer):
        return "it has no inputs"
    if isinstance(layer, nn.Embedding) and (layer.max_norm is not None or layer.sparse):
        return "an embedding with max_norm or sparse gradients changes its weights itself"
    return None


def too_wide(layer: nn.Module, spec: Quantize | None) -> str | None:
    """Return why a layer's rows cannot be multiplied in whole numbers, None if they can or need not be."""
    most = max(_inputs(layer), default=0)
    if spec is None or spec.inputs != "row" or most <= MOST_INPUTS:
        return None
    return (
        f"{most} inputs: an int32 sum of int8 products holds 1 to {MOST_INPUTS}; with inputs=float any number will do"
    )


def weights_of(layer: nn.Module) -> tuple[str, ...]:
    """Return the names of the parameters that would be compressed in a plain layer or a shadow, or in one of its kind.

    A layer of another class has none.
    """
    becomes = type(layer) if isinstance(layer, Shadow) else shadow_type(layer)
    if becomes is None:
        return ()
    fixed = becomes.weight_names is Shadow.weight_names
    return becomes.names if fixed else becomes.weight_names(cast(Shadow, layer))


def _inputs(layer: nn.Module) -> tuple[int, ...]:
    if isinstance(layer, nn.Linear):
        return (layer.in_features,)
    if isinstance(layer, nn.MultiheadAttention):
        return layer.embed_dim, layer.kdim, layer.vdim
    return (cast(int, layer.nx),) if shadow_type(layer) is ShadowTransposed else ()


def weights(form: nn.Module) -> dict[str, Weight]:
    """Return the weights to compress by their name in the `state_dict`; one that layers share appears once.

    Raises:
        ValueError: there are none: the model is not a training form.
    """
    if not (by_name := find(form)):
        raise ValueError("the model has no compressed layer; make its training form with training_form()")
    return by_name


def find(model: nn.Module) -> dict[str, Weight]:
    """Return what `weights` does, for any model: nothing if it has no compressed layer."""
    by_parameter: dict[nn.Parameter, Weight] = {}
    for weight in _each(model):
        by_parameter.setdefault(weight.value, weight)
    return {weight.name: weight for weight in by_parameter.values()}


def unpruned(weight: Weight) -> str | None:
    """Return why no entry of a weight may be masked, None if some may."""
    if not weight.value.requires_grad:
        return "it has requires_grad=False, and what does not learn stays as it is"
    return "it is all zero, so its magnitudes have no order" if weight.name in weight.layer.aside else None


def left(form: nn.Module) -> dict[str, str]:
    """Return the modules that stay in float, by name, with the reason; they have parameters of their own.

    Those that could only be pruned, and of which nothing may be, are among them.
    """
    reasons: dict[nn.Module, list[str | None]] = {}
    for weight in _each(form):
        reasons.setdefault(weight.layer, []).append(unpruned(weight) if weight.layer.spec is None else None)
    whole = {layer: each[0] for layer, each in reasons.items() if all(each)}
    unread = _unread(form.modules())
    return {
        name: whole.get(layer) or reason(layer) or (UNREAD if layer in unread else UNNAMED)
        for name, layer in form.named_modules()
        if (NOTE in vars(layer) or layer in whole or not isinstance(layer, Shadow))
        and any(True for _ in layer.parameters(recurse=False))
    }


def _each(form: nn.Module) -> Iterator[Weight]:
    for path, layer in form.named_modules():
        if isinstance(layer, Shadow) and not layer.served:
            for name in layer.weight_names():
                full = f"{path}.{name}" if path else name
                yield Weight(full, getattr(layer, name), getattr(layer, mask_name(name)), layer)


def _mask_of(layer: Shadow, value: nn.Parameter) -> str:
    return next(mask_name(name) for name in layer.weight_names() if getattr(layer, name) is value)
