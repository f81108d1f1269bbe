"""Fake quantization: the arithmetic of int8 layers, done in float so that it can be trained through.

Owns the one rounding rule that training form and artifact share. Knows no modules, masks' origin, or files.
Symmetric and stateless: every weight row (output channel) and every input row has the scale (its largest magnitude) /
levels, recomputed at each call, so no answer depends on its batch mates. Shapes: N rows, I inputs, O outputs.
"""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

INPUT_LEVELS = 127
SMALLEST = 1e-35  # rows below it count as zeros; their scale stays a normal float32, so nothing divides by zero
MOST_INPUTS = (2**31 - 1) // (INPUT_LEVELS * INPUT_LEVELS)  # wider rows could overflow the int32 sum


def weight_levels(bits: int) -> int:
    """Give the largest whole number of a symmetric `bits`-bit weight: 127 for 8."""
    return int(2 ** (bits - 1) - 1)


def quantize_rows(rows: Tensor, levels: int) -> tuple[Tensor, Tensor]:
    """Split `rows` (N, I) into whole numbers in [-levels, levels], still float, and a scale (N, 1) of each row.

    A row with a NaN or an infinity gets a scale that is not finite, so whatever is computed from it shows it.
    """
    scale = rows.abs().amax(1, keepdim=True).clamp_min_(SMALLEST).mul_(1 / levels)
    return (rows / scale).round_(), scale


class QuantizedLinear(torch.autograd.Function):
    """`x @ (w * mask).T + bias` with both factors quantized; backward as if rounding were the identity.

    Straight-through estimator: Bengio et al., arXiv 1308.3432. The whole numbers are multiplied first and scaled after,
    as the int8 kernel does: their sums are exact in float32 up to I = 1,040, so the artifact gives the same bits.
    A masked weight gets no gradient. One Function, because at 50 rows a step costs its count of small operations.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, w: Tensor, mask: Tensor, bias: Tensor | None, levels: int) -> Tensor:
        """Map `x` (N, I) to (N, O) by `w` and `mask` (O, I) and `bias` (O,)."""
        whole_x, scale_x = quantize_rows(x, INPUT_LEVELS)
        whole_w, scale_w = quantize_rows(w * mask, levels)
        ctx.save_for_backward(whole_x, scale_x, whole_w, scale_w, mask)
        return rescale(whole_x @ whole_w.t(), scale_x, scale_w.t(), bias)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, slope: Tensor) -> tuple[Tensor | None, Tensor | None, None, Tensor | None, None]:
        """Give the slopes in `x`, `w` and `bias` from the output's `slope` (N, O)."""
        whole_x, scale_x, whole_w, scale_w, mask = ctx.saved_tensors
        of_x, of_w, _, of_bias, _ = ctx.needs_input_grad
        return (
            (slope * scale_w.t()) @ whole_w if of_x else None,
            ((slope * scale_x).t() @ whole_x).mul_(mask) if of_w else None,
            None,
            slope.sum(0) if of_bias else None,
            None,
        )


def rescale(sums: Tensor, scale_x: Tensor, scale_w: Tensor, bias: Tensor | None) -> Tensor:
    """Turn sums of whole-number products (N, O) into outputs; in steps, so that no compiler fuses a rounding away.

    `sums` is int32 or float and is not kept; scales are (N, 1) and (1, O).
    """
    out = (sums * scale_x).mul_(scale_w)
    return out if bias is None else out.add_(bias)
