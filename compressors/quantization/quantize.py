"""Fake quantization: the arithmetic of compressed layers, done in float so that gradients pass through it.

Owns the one rounding rule that training form and artifact share. Does not know modules, files, or how masks are chosen.
The rule is symmetric and stateless: every weight row (an output channel, or a group of neighbours in it) and every
input row has the scale (its largest magnitude) / levels, computed anew at each call, so no answer depends on the other
rows of its batch. Shapes: N rows, I inputs, O outputs, G groups (1 without them).
"""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from compressors.recipe import Quantize

INPUT_LEVELS = 127
SMALLEST = 1e-35  # largest magnitude of a row that counts as zeros: its scale is a normal float32, never zero
MOST_INPUTS = (2**31 - 1) // (INPUT_LEVELS * INPUT_LEVELS)  # wider rows could overflow the int32 sum


def weight_levels(bits: int) -> int:
    """Return the largest whole number of a symmetric `bits`-bit weight: 127 for 8."""
    return int(2 ** (bits - 1) - 1)


def quantize_rows(rows: Tensor, levels: int) -> tuple[Tensor, Tensor]:
    """Split `rows` (N, I) into whole numbers in [-levels, levels], of float dtype, and a scale (N, 1) for each row.

    A row with a NaN or an infinity gets a scale that is not finite, and so does all that is computed from it.
    """
    scale = rows.abs().amax(1, keepdim=True).clamp_min_(SMALLEST).mul_(1 / levels)
    return (rows / scale).round_(), scale


def to_whole(weight: Tensor, spec: Quantize) -> tuple[Tensor, Tensor]:
    """Split a weight (O, ...) into whole numbers of its shape and float dtype, and scales (O, G)."""
    whole, scale = quantize_rows(_grouped(weight, spec), weight_levels(spec.bits))
    return _ungrouped(whole, weight), scale.reshape(len(weight), len(scale) // max(1, len(weight)))


def from_whole(whole: Tensor, scale: Tensor, spec: Quantize) -> Tensor:
    """Return the weight that `to_whole` split, rounded."""
    return _ungrouped(_grouped(whole.to(scale.dtype), spec) * scale.reshape(-1, 1), whole)


def _grouped(weight: Tensor, spec: Quantize) -> Tensor:
    """View a weight as rows that share a scale; the last row of each output channel is filled up with zeros."""
    rows = weight.flatten(1)
    if spec.group is None:
        return rows
    missing = -rows.shape[1] % spec.group
    return torch.nn.functional.pad(rows, (0, missing)).reshape(-1, spec.group)


def _ungrouped(grouped: Tensor, like: Tensor) -> Tensor:
    rows = like.flatten(1)
    if grouped.shape == rows.shape:
        return grouped.reshape(like.shape)
    return grouped.reshape(len(rows), -1)[:, : rows.shape[1]].reshape(like.shape)


def rounded(weight: Tensor, spec: Quantize) -> Tensor:
    """Return a weight as it will be served."""
    if spec.weights == "bfloat16":
        return weight.to(torch.bfloat16).to(weight.dtype)
    return from_whole(*to_whole(weight, spec), spec)


class Rounded(torch.autograd.Function):
    """`w * mask` as it will be served; the gradient ignores the rounding, and is zero for a masked weight."""

    @staticmethod
    def forward(ctx: Any, w: Tensor, mask: Tensor, spec: Quantize | None) -> Tensor:
        """Take `w` and `mask` (O, ...); without a `spec` nothing is rounded."""
        ctx.save_for_backward(mask)
        return rounded(w * mask, spec) if spec else w * mask

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, slope: Tensor) -> tuple[Tensor, None, None]:
        """Return the slope in `w`."""
        (mask,) = ctx.saved_tensors
        return slope * mask, None, None


class Seen(torch.autograd.Function):
    """Inputs rounded to multiples of `scale` and cut at 127 of them; the gradient is the identity for those not cut."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, scale: Tensor) -> Tensor:
        """Take `x` (N, ...) and a `scale` that broadcasts against it."""
        whole = (x / scale).round_()
        ctx.save_for_backward(whole.abs() <= INPUT_LEVELS)
        return whole.clamp_(-INPUT_LEVELS, INPUT_LEVELS).mul_(scale)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, slope: Tensor) -> tuple[Tensor, None]:
        """Return the slope in `x`."""
        (inside,) = ctx.saved_tensors
        return slope * inside, None


def row_scale(x: Tensor, dims: int) -> Tensor:
    """Return the scale of each row of `x`; a row is the last `dims` dimensions."""
    over = tuple(range(-dims, 0))
    return x.detach().abs().amax(over, keepdim=True).clamp_min_(SMALLEST).mul_(1 / INPUT_LEVELS)


class QuantizedLinear(torch.autograd.Function):
    """`x @ (w * mask).T + bias` with both factors quantized; in the backward pass rounding is the identity.

    Straight-through estimator: Bengio et al., arXiv 1308.3432. The whole numbers are multiplied first and scaled after,
    as the int8 kernel does: their sums are exact in float32 up to I = 1,040, so the artifact answers with the same
    bits. A masked weight gets no gradient. It is one Function because with batches of 50 rows, the number of small
    operations determines what a training step costs.
    """

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, w: Tensor, mask: Tensor, bias: Tensor | None, rounded_w: tuple[Tensor, Tensor]
    ) -> Tensor:
        """Map `x` (N, I) to (N, O) by `w` and `mask` (O, I), which were split into `rounded_w`, and `bias` (O,)."""
        whole_x, scale_x = quantize_rows(x, INPUT_LEVELS)
        whole_w, scale_w = rounded_w
        ctx.save_for_backward(whole_x, scale_x, whole_w, scale_w, mask)
        return rescale(whole_x @ whole_w.t(), scale_x, scale_w.t(), bias)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, slope: Tensor) -> tuple[Tensor | None, Tensor | None, None, Tensor | None, None]:
        """Return the slopes in `x`, `w` and `bias` from the output's `slope` (N, O)."""
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
    """Turn sums of whole-number products (N, O) into outputs, in separate steps so that no compiler fuses two of them.

    `sums` is int32 or float, and may be overwritten; scales are (N, 1) and (1, O).
    """
    out = (sums * scale_x).mul_(scale_w)
    return out if bias is None else out.add_(bias)
