"""A compressed weight in an artifact: the tensors that hold it, the entry that describes it, and its value from both.

Owns the way of a weight between its layer and the file. Does not know the file's format, or how numbers become bytes.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple, cast

import torch
from torch import Tensor, nn

from compressors.artifact.packing import pack, unpack
from compressors.form import Weight
from compressors.quantization.layers import Shadow
from compressors.quantization.quantize import from_whole, to_whole
from compressors.steps import Inputs, Quantize


@dataclass(frozen=True, kw_only=True)
class Stored:
    """One compressed weight: its shape, how its numbers are stored, the share of zeros, and its size in bytes.

    `inputs` says how the layer that uses the weight rounds its inputs, by the weight's name in that layer; a shared
    weight has several. The shape of a `transposed` weight is (inputs, outputs); its numbers are stored as (outputs,
    inputs), like all others.
    """

    shape: tuple[int, ...]
    weights: str
    group: int | None
    sparsity: float
    bytes: int
    inputs: dict[str, Inputs]
    transposed: bool = False

    def spec(self, inputs: Inputs = "float") -> Quantize | None:
        """Return how the weight is quantized, None if it is not."""
        return None if self.weights.startswith("float") else Quantize(self.weights, inputs, self.group)


class Whole(NamedTuple):
    """A weight as whole numbers (O, ...) in int8, and its scales (O, G), one for each group of an output."""

    numbers: Tensor
    scale: Tensor


def parts_of(weight: Weight) -> dict[str, Tensor]:
    """Return the tensors that hold a weight, by the last part of their names."""
    value, spec = weight.layer.turned(weight.value.detach() * weight.mask), weight.layer.spec
    if spec is None:
        return pack(value)
    if spec.weights == "bfloat16":
        return pack(value.to(torch.bfloat16))
    whole, scale = to_whole(value, spec)
    return pack(whole.to(torch.int8), spec.bits) | {"scale": scale.contiguous()}


def stored(form: nn.Module, weight: Weight, parts: Mapping[str, Tensor]) -> Stored:
    """Return the entry of a weight of a training form, which is held by these parts."""
    spec, state = weight.layer.spec, form.state_dict(keep_vars=True)
    used = [name for name, value in state.items() if value is weight.value]
    layers = {name: cast(Shadow, form.get_submodule(name.rpartition(".")[0])) for name in used}
    return Stored(
        shape=tuple(weight.value.shape),
        weights=spec.weights if spec else str(weight.value.dtype).removeprefix("torch."),
        group=spec.group if spec else None,
        sparsity=zeros(weight.value.detach() * weight.mask) / weight.value.numel(),
        bytes=sum(t.numel() * t.element_size() for t in parts.values()),
        inputs={name: (layer.spec and layer.spec.inputs) or "float" for name, layer in layers.items()},
        transposed=weight.layer.transposed,
    )


def value_of(name: str, entry: Stored, tensors: Mapping[str, Tensor]) -> tuple[Tensor, Whole | None]:
    """Return a weight in float, and as whole numbers if it is stored so."""
    prefix, spec, whole = f"weight/{name}/", entry.spec(), None
    shape = torch.Size(reversed(entry.shape) if entry.transposed else entry.shape)
    parts = {key.removeprefix(prefix): t for key, t in tensors.items() if key.startswith(prefix)}
    if spec is None:
        value = unpack(parts, shape, getattr(torch, entry.weights))
    elif spec.weights == "bfloat16":
        value = unpack(parts, shape, torch.bfloat16).to(torch.float32)
    else:
        whole = Whole(unpack(parts, shape, torch.int8, spec.bits), parts["scale"])
        value = from_whole(*whole, spec)
    return value.t().contiguous() if entry.transposed else value, whole


def zeros(tensor: Tensor) -> int:
    """Return the number of zeros."""
    return tensor.numel() - int(tensor.count_nonzero())
