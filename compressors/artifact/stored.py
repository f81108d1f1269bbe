"""A compressed weight in an artifact: which tensors hold it, what is said of it, and its values again.

Owns a weight's parts, between its layer and the file. Does not know the file's format, nor how numbers become bytes.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, nn

from compressors.artifact.packing import pack, unpack
from compressors.form import Weight
from compressors.quantization.layers import Shadow
from compressors.quantization.quantize import from_whole, to_whole
from compressors.steps import Inputs, Quantize


@dataclass(frozen=True, kw_only=True)
class Stored:
    """One compressed weight: its shape, how its numbers are written, and what they take.

    `inputs` says how the layer that uses it sees its inputs, under the weight's name there: one that is shared has
    several. A `transposed` one is (inputs, outputs); its numbers are written the other way round, as all others are.
    """

    shape: tuple[int, ...]
    weights: str
    group: int | None
    sparsity: float
    bytes: int
    inputs: dict[str, Inputs]
    transposed: bool = False

    @classmethod
    def read(cls, given: Mapping[str, Any]) -> "Stored":
        """Read what `asdict` gave, by way of JSON."""
        return cls(**{**given, "shape": tuple(given["shape"])})

    def spec(self, inputs: Inputs = "float") -> Quantize | None:
        """Say how the weight is quantized, None if it is not."""
        return None if self.weights.startswith("float") else Quantize(self.weights, inputs, self.group)


def parts_of(weight: Weight) -> dict[str, Tensor]:
    """Give the tensors that hold a weight, by the last part of their names."""
    value, spec = weight.layer.turned(weight.value.detach() * weight.mask), weight.layer.spec
    if spec is None:
        return pack(value)
    if spec.weights == "bfloat16":
        return pack(value.to(torch.bfloat16))
    whole, scale = to_whole(value, spec)
    return pack(whole.to(torch.int8), spec.bits) | {"scale": scale.contiguous()}


def stored(form: nn.Module, weight: Weight, parts: Mapping[str, Tensor]) -> Stored:
    """Describe a weight of a training form and its parts."""
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


def value_of(name: str, one: Stored, tensors: Mapping[str, Tensor], whole: dict[str, tuple[Tensor, Tensor]]) -> Tensor:
    """Give a weight in float; its whole numbers (O, ...) and scales, where it has them, are put into `whole`."""
    prefix, spec = f"weight/{name}/", one.spec()
    shape = torch.Size(reversed(one.shape) if one.transposed else one.shape)
    parts = {key.removeprefix(prefix): t for key, t in tensors.items() if key.startswith(prefix)}
    if spec is None:
        value = unpack(parts, shape, getattr(torch, one.weights))
    elif spec.weights == "bfloat16":
        value = unpack(parts, shape, torch.bfloat16).to(torch.float32)
    else:
        whole[name] = unpack(parts, shape, torch.int8, spec.bits), parts["scale"]
        value = from_whole(*whole[name], spec)
    return value.t().contiguous() if one.transposed else value


def zeros(tensor: Tensor) -> int:
    """Count them."""
    return tensor.numel() - int(tensor.count_nonzero())
