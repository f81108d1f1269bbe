"""The serving form of a Linear: real int8 multiplication, int32 sums, and a scale for each input row.

Owns the kernel, the layers that it makes of served ones, the check that it is exact, and its exchange for another
module. Does not know files or training.
"""

import copy
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from compressors import scale
from compressors.internals import int8_product
from compressors.quantization.attention import ShadowMultiheadAttention
from compressors.quantization.int8_weight import Int8Weight, in_float, parameter
from compressors.quantization.layers import ShadowRows, ShadowTransposed, alone
from compressors.quantization.quantize import INPUT_LEVELS, quantize_rows, rescale


class Int8Linear(nn.Module):
    """A Linear that multiplies in int8 and sums in int32. Each input row has its own scale, so rows do not mix.

    A row with a NaN or an infinity gets outputs that are not finite; the other rows of its batch are not affected.
    Both factors are copied into canonical strides, which `int8_product` needs. If the processor's int8 kernel is not
    exact, the same whole numbers are multiplied in float. Made by its constructor it is a part of another layer, whose
    state has its tensors.
    """

    weight: Tensor
    bias: Tensor | None
    transposed = False

    def __init__(self, whole: Tensor, scale: Tensor, bias: Tensor | None) -> None:
        """Take the weight as whole numbers, `whole` (O, I) int8, with `scale` (O, 1) and `bias` (O,)."""
        super().__init__()
        self.weight = _weight(whole, scale, turned=False)
        self.register_buffer("bias", None if bias is None else bias.detach(), persistent=False)

    @property
    def columns(self) -> Tensor:
        """The weight's whole numbers (I, O)."""
        weight: Any = self.weight
        return weight.columns  # type: ignore[no-any-return]

    @property
    def scale(self) -> Tensor:
        """The scale of each output (1, O)."""
        weight: Any = self.weight
        return weight.scale  # type: ignore[no-any-return]

    @property
    def bias_tensor(self) -> Tensor | None:
        """The bias (O,), not as a parameter."""
        return None if self.bias is None else self.bias.detach()

    def forward(self, input: Tensor) -> Tensor:
        """Map (..., I) to (..., O)."""
        weight = self.weight
        if not isinstance(weight, Int8Weight):  # another one is in its place, as functional_call puts it there
            return F.linear(input, weight.t() if self.transposed else weight, self.bias)
        return alone(self._product, input, weight)

    def _product(self, x: Tensor, weight: Int8Weight) -> Tensor:
        columns = weight.columns
        rows = x if x.dim() == 2 else x.reshape(-1, columns.shape[0])
        whole, scale = quantize_rows(rows, INPUT_LEVELS)
        if columns.dtype == torch.int8:
            sums = int8_product(whole.to(torch.int8, memory_format=torch.contiguous_format), columns)
        else:
            sums = whole @ columns
        out = rescale(sums, scale, weight.scale, self.bias)
        return out if x.dim() == 2 else out.reshape(*x.shape[:-1], columns.shape[1])

    def _save_to_state_dict(self, destination: Any, prefix: str, keep_vars: bool) -> None:
        """Save nothing: the layer that it is a part of does."""

    def _load_from_state_dict(self, *_: Any) -> None:
        """Load nothing."""


class Served(Int8Linear):
    """A layer of a served model: it has what the plain one has, `weight`, `bias`, a state in float, and its hooks."""

    def _save_to_state_dict(self, destination: Any, prefix: str, keep_vars: bool) -> None:
        super(Int8Linear, self)._save_to_state_dict(destination, prefix, keep_vars)
        in_float(self, destination, prefix, keep_vars)

    def _load_from_state_dict(self, *args: Any) -> None:
        super(Int8Linear, self)._load_from_state_dict(*args)


class ServedLinear(Served, nn.Linear):  # type: ignore[misc]  # torch declares a bias that may be None as a Parameter
    """A Linear."""


class ServedTransposed(Served):
    """GPT-2's Linear, whose weight is (I, O)."""

    transposed = True

    def forward(self, x: Tensor) -> Tensor:
        """Map (..., I) to (..., O)."""
        return super().forward(x)


def fits(layer: nn.Module) -> bool:
    """Return whether a served layer computes as the kernel does: input rows of whole numbers, each with its scale."""
    return isinstance(layer, ShadowRows) and layer.spec is not None and layer.spec.inputs == "row"


def with_kernels(model: nn.Module, whole: Mapping[str, tuple[Tensor, Tensor]]) -> nn.Module:
    """Let the layers and projections of attention that the kernel can run be run by it, in place; return the model.

    `whole` has the whole numbers (O, I) and the scales (O, 1) of weights, by their names in the model.
    """
    for name, factors in whole.items():
        path, _, own = name.rpartition(".")
        layer = model.get_submodule(path)
        if not fits(layer):
            continue
        if isinstance(layer, ShadowMultiheadAttention):
            layer.serve(own, Int8Linear(*factors, layer.bias_of(own)))
        else:
            turned = isinstance(layer, ShadowTransposed)
            layer.register_parameter("weight", _weight(*factors, turned=turned))
            layer.__class__ = ServedTransposed if turned else ServedLinear
    return model


def _weight(whole: Tensor, scale: Tensor, *, turned: bool) -> nn.Parameter:
    kind = torch.int8 if int8_is_exact() else scale.dtype
    columns = torch.empty(whole.t().shape, dtype=kind).copy_(whole.t())
    return parameter(columns, scale.t().contiguous(), turned=turned)


class Facts(NamedTuple):
    """What a forward may ask of a weight besides its numbers."""

    dtype: torch.dtype
    shape: torch.Size
    device: torch.device


def constant(value: Tensor) -> nn.Parameter:
    """Return a tensor as a parameter that does not learn: a forward may ask `next(self.parameters())` for its type."""
    return nn.Parameter(value, requires_grad=False)


def substitute(model: nn.Module, make: Callable[[Int8Linear], nn.Module]) -> nn.Module:
    """Return a copy of a serving model with `make(layer)` in place of each `Int8Linear`.

    A layer with two names stays one layer. All other tensors are the model's own, not copies. What is made has a
    `weight` that says its type, shape and device: an exporter takes no tensor of a kind of its own.
    """
    known: dict[int, object] = {id(t): t for t in (*model.parameters(), *model.buffers())}
    for layer in model.modules():
        if isinstance(layer, Int8Linear):
            known[id(layer)] = made = make(layer)
            if not hasattr(made, "weight"):
                made.weight = Facts(layer.weight.dtype, layer.weight.shape, layer.weight.device)  # type: ignore[assignment]
    changed = copy.deepcopy(model, known)
    for layer in changed.modules():
        if isinstance(layer, ShadowMultiheadAttention):
            layer.forget_served()
    if isinstance(model, Int8Linear):
        scale.put(changed, scale.of(model))
    return changed


@cache
def int8_is_exact() -> bool:
    """Return whether `int8_product` sums large products correctly on this processor.

    x86 without VNNI adds pairs of products in saturating int16: oneDNN then returns wrong sums without an error (seen
    with ONEDNN_MAX_CPU_ISA=AVX2, torch 2.13). A vector, a column and a block may take different kernels, so all three
    are tried.
    """
    for rows, columns in ((1, 64), (64, 1), (64, 64)):
        for sign in (1, -1):
            a = torch.full((rows, 64), 127, dtype=torch.int8)
            b = torch.full((64, columns), 127 * sign, dtype=torch.int8)
            if not bool((int8_product(a, b) == 127 * 127 * 64 * sign).all()):
                return False
    return True
