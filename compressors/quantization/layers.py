"""Compressed layers: how each kind computes under masks and fake quantization, as the artifact will.

Owns the kinds but `nn.MultiheadAttention`, which is in `attention.py`. Does not know models, how masks are chosen, or
files. A layer is compressed in its place: it keeps its parameters, their names, and its hooks.
"""

from dataclasses import replace
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from compressors.internals import matrices_as, matrix_names
from compressors.quantization.quantize import QuantizedLinear, Rounded, Seen, row_scale, weight_levels
from compressors.recipe import Kind, Quantize

RANGE_RATE = 0.01  # of a static input range, by batch


def mask_name(weight: str) -> str:
    """Name a weight's mask."""
    return weight.replace("weight", "mask", 1)


class Shadow(nn.Module):
    """What compressed layers share. A weight's mask is a buffer of zeros and ones, named as the weight is.

    Masks have the weight's dtype: a bool one costs five times the multiplication. `spec` says how the layer is
    quantized, None not at all; a `served` layer's weights are already what they will be. Static inputs have a buffer
    `input_range`, the moving average of the largest magnitude of a batch; it stands still in eval mode.
    """

    kind: ClassVar[Kind]
    names: ClassVar[tuple[str, ...]] = ("weight",)
    row_dims: ClassVar[int] = 0  # dimensions of the input that share a scale
    transposed: ClassVar[bool] = False  # its weight is (I, O)
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

    def turned(self, t: Tensor) -> Tensor:
        """Turn a tensor of a weight's shape so that outputs come first, (O, ...); and back."""
        return t.t() if self.transposed else t

    def weight_as_served(self, name: str = "weight") -> Tensor:
        """Give a weight (O, ...) under its mask, rounded; gradients pass as if it were not."""
        weight = self.turned(getattr(self, name))
        if self.served:
            return weight
        shown: Tensor = Rounded.apply(weight, self.turned(getattr(self, mask_name(name))), self.spec)  # type: ignore[no-untyped-call]
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


class ShadowRows(Shadow):
    """Layers that multiply rows by a matrix; a row is the last dimension."""

    kind = "linear"
    row_dims = 1

    def product(self, x: Tensor, name: str, bias: Tensor | None) -> Tensor:
        """Map (..., I) to (..., O) as the artifact will; whole rows of whole numbers the fast way."""
        if self.served or self.spec is None or self.spec.inputs != "row":
            return nn.functional.linear(self.seen(x), self.weight_as_served(name), bias)
        weight, mask = self.turned(getattr(self, name)), self.turned(getattr(self, mask_name(name)))
        rows = x if x.dim() == 2 else x.reshape(-1, weight.shape[1])
        out: Tensor = QuantizedLinear.apply(rows, weight, mask, bias, weight_levels(self.spec.bits))  # type: ignore[no-untyped-call]
        return out if x.dim() == 2 else out.reshape(*x.shape[:-1], len(weight))


class ShadowLinear(ShadowRows, nn.Linear):
    """A Linear."""

    def forward(self, x: Tensor) -> Tensor:
        """Map (..., I) to (..., O)."""
        return self.product(x, "weight", self.bias)


class ShadowTransposed(ShadowRows):
    """GPT-2's Linear, `Conv1D` of transformers, whose weight is (I, O). No subclass of it: transformers is optional."""

    transposed = True
    weight: Tensor
    bias: Tensor

    def forward(self, x: Tensor) -> Tensor:
        """Map (..., I) to (..., O)."""
        return self.product(x, "weight", self.bias)


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
        return matrix_names(self)

    def forward(self, *inputs: Any) -> Any:
        """Compute with the weights as they will be served."""
        with matrices_as(self, self.weight_as_served):
            return super().forward(*inputs)


class ShadowLSTM(ShadowRecurrent, nn.LSTM):
    """An LSTM."""


class ShadowGRU(ShadowRecurrent, nn.GRU):
    """A GRU."""


class ShadowRNN(ShadowRecurrent, nn.RNN):
    """A plain recurrent net."""
