"""The serving form of a Linear: real int8 multiplication, int32 sums, and a scale for each input row.

Owns the kernel, where it goes in a model, the check that it is exact, and its exchange for another module. Does not
know files or training.
"""

import copy
from collections.abc import Callable, Mapping
from functools import cache
from typing import cast

import torch
from torch import Tensor, nn

from compressors.internals import int8_product
from compressors.quantization.attention import ShadowMultiheadAttention
from compressors.quantization.layers import ShadowRows
from compressors.quantization.quantize import INPUT_LEVELS, quantize_rows, rescale


class Int8Linear(nn.Module):
    """A Linear that multiplies in int8 and sums in int32. Each input row has its own scale, so rows do not mix.

    A row with a NaN or an infinity gets outputs that are not finite; the other rows of its batch are not affected.
    Both factors are copied into canonical strides, which `int8_product` needs. If the processor's int8 kernel is not
    exact, the same whole numbers are multiplied in float.
    """

    columns: Tensor
    scale: Tensor
    bias: Tensor | None

    def __init__(self, whole: Tensor, scale: Tensor, bias: Tensor | None) -> None:
        """Take the weight as whole numbers, `whole` (O, I) int8, with `scale` (O, 1) and `bias` (O,)."""
        super().__init__()
        kind = torch.int8 if int8_is_exact() else scale.dtype
        columns = torch.empty(whole.t().shape, dtype=kind).copy_(whole.t())
        self.register_buffer("columns", columns, persistent=False)
        self.register_buffer("scale", scale.t().contiguous(), persistent=False)
        self.register_buffer("bias", None if bias is None else bias.detach(), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Map (..., I) to (..., O)."""
        rows = x if x.dim() == 2 else x.reshape(-1, self.columns.shape[0])
        whole, scale = quantize_rows(rows, INPUT_LEVELS)
        if self.columns.dtype == torch.int8:
            sums = int8_product(whole.to(torch.int8, memory_format=torch.contiguous_format), self.columns)
        else:
            sums = whole @ self.columns
        out = rescale(sums, scale, self.scale, self.bias)
        return out if x.dim() == 2 else out.reshape(*x.shape[:-1], self.columns.shape[1])


def fits(layer: nn.Module) -> bool:
    """Return whether a served layer computes as the kernel does: input rows of whole numbers, each with its scale."""
    return isinstance(layer, ShadowRows) and layer.spec is not None and layer.spec.inputs == "row"


def with_kernels(model: nn.Module, whole: Mapping[str, tuple[Tensor, Tensor]]) -> nn.Module:
    """Replace the layers and projections of attention that the kernel can run, in place; return the model.

    If the model is itself such a layer, the kernel is returned. `whole` has the whole numbers (O, I) and the scales
    (O, 1) of weights, by their names in the model.
    """
    for name, factors in whole.items():
        path, _, own = name.rpartition(".")
        layer = model.get_submodule(path)
        if not fits(layer):
            continue
        if isinstance(layer, ShadowMultiheadAttention):
            layer.serve(own, Int8Linear(*factors, layer.bias_of(own)))
        elif not path:
            return Int8Linear(*factors, cast(Tensor | None, layer.bias))
        else:
            parent, _, child = path.rpartition(".")
            setattr(model.get_submodule(parent), child, Int8Linear(*factors, cast(Tensor | None, layer.bias)))
    return model


def substitute(model: nn.Module, make: Callable[[Int8Linear], nn.Module]) -> nn.Module:
    """Return a copy of a serving model with `make(layer)` in place of each `Int8Linear`.

    A layer with two names stays one layer. All other tensors are the model's own, not copies.
    """
    known: dict[int, object] = {id(t): t for t in (*model.parameters(), *model.buffers())}
    known |= {id(layer): make(layer) for layer in model.modules() if isinstance(layer, Int8Linear)}
    return copy.deepcopy(model, known)


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
