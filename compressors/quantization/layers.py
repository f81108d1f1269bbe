"""Compressed layers: how each kind computes under masks and fake quantization, as the artifact will.

Owns every kind except `nn.MultiheadAttention`, which is in `attention.py`. Does not know models, how masks are chosen,
or files. A layer is compressed in place: it keeps its parameters, their names, and its hooks.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor, nn

from compressors.internals import changes, matrices_as, matrix_names
from compressors.quantization.quantize import QuantizedLinear, Rounded, Seen, quantize_rows, row_scale, weight_levels
from compressors.recipe import Kind, Quantize

HALF = (torch.float16, torch.bfloat16)
RANGE_RATE = 0.01  # share of the way that each batch moves a static input range


def mask_name(weight: str) -> str:
    """Return the name of a weight's mask."""
    return weight.replace("weight", "mask", 1)


def alone(product: Callable[..., Tensor], x: Tensor, *args: Any) -> Tensor:
    """Return `product(x, *args)`, computed in float32 at least, in the type in which the plain layer would answer.

    Autocast would sum whole numbers in 8 bits, and half precision has no scale as small as that of a row of zeros.
    """
    device = x.device.type
    cast = torch.is_autocast_enabled(device)
    if not cast and x.dtype not in HALF:
        return product(x, *args)
    with torch.autocast(device, enabled=False):
        out = product(x.float() if x.dtype in HALF else x, *args)
    return out.to(torch.get_autocast_dtype(device) if cast else x.dtype)


class Shadow(nn.Module):
    """What compressed layers share. A weight's mask is a buffer of zeros and ones, named after the weight.

    Masks have the weight's dtype: multiplying by a bool mask takes five times as long. `spec` says how the layer is
    quantized, None: not at all. Nothing of the weights named `aside` is pruned. The weights of a `served` layer are
    already masked and rounded. A layer with static inputs has a buffer `input_range`, the moving average of each
    batch's largest magnitude; it changes in training mode only.
    """

    kind: ClassVar[Kind]
    names: ClassVar[tuple[str, ...]] = ("weight",)
    row_dims: ClassVar[int] = 0  # dimensions of the input that share a scale
    transposed: ClassVar[bool] = False  # its weight is (I, O)
    spec: Quantize | None
    prunable: bool
    served: bool
    aside: frozenset[str]
    input_range: Tensor
    mask: Tensor

    def begin(self, spec: Quantize | None, *, prunable: bool = False, served: bool = False) -> None:
        """Become compressed, with nothing pruned yet."""
        if spec and not self.row_dims:
            spec = replace(spec, inputs="float")
        self.spec, self.prunable, self.served, self.aside = spec, prunable, served, frozenset()
        for name in self.weight_names():
            if not served:
                self.register_buffer(mask_name(name), torch.ones_like(getattr(self, name), requires_grad=False))
        if spec and spec.inputs == "static":
            self.register_buffer("input_range", torch.zeros(()))

    def weight_names(self) -> tuple[str, ...]:
        """Return the names of the parameters that are compressed."""
        return self.names

    def turned(self, t: Tensor) -> Tensor:
        """Transpose a tensor of a weight's shape, if needed, so that outputs come first, (O, ...); or undo that."""
        return t.t() if self.transposed else t

    def weight_as_served(self, name: str = "weight") -> Tensor:
        """Return a weight (O, ...) masked and rounded; gradients pass as if it were not rounded."""
        weight = self.turned(getattr(self, name))
        if self.served:
            return weight
        mask = self.turned(getattr(self, mask_name(name)))
        rounded: Tensor = Rounded.apply(weight, mask, self.spec)  # type: ignore[no-untyped-call]
        return rounded

    def seen(self, x: Tensor) -> Tensor:
        """Return the inputs as the layer computes with them: rounded as `spec` says."""
        if self.spec is None or self.spec.inputs == "float":
            return x
        x = x.float() if x.dtype in HALF else x
        if self.spec.inputs == "static":
            if self.training and not self.served:
                self._follow(x.detach().abs().amax())
            scale = self.input_range.clamp_min(1e-30) / 127
        else:
            scale = row_scale(x, min(self.row_dims, x.dim()))
        rounded: Tensor = Seen.apply(x, scale)  # type: ignore[no-untyped-call]
        return rounded

    def _follow(self, largest: Tensor) -> None:
        self.input_range.copy_(torch.where(self.input_range == 0, largest, self.input_range.lerp(largest, RANGE_RATE)))


def forget_ranges(served: nn.Module) -> None:
    """Leave the static ranges of a served model out of its state: that of the plain model has the same names."""
    for layer in served.modules():
        if isinstance(layer, Shadow) and "input_range" in layer._buffers:
            layer.register_buffer("input_range", layer._buffers.pop("input_range"), persistent=False)


class Kept(NamedTuple):
    """What a weight was rounded to, and of which numbers: `changes` counts how often they were written."""

    weight: Tensor
    mask: Tensor
    weight_changes: int
    mask_changes: int
    rounded: tuple[Tensor, Tensor]

    def of(self, weight: Tensor, mask: Tensor) -> bool:
        """Return whether it is of these numbers still."""
        same = weight.data_ptr() == self.weight.data_ptr() and mask is self.mask
        return same and (changes(weight), changes(mask)) == (self.weight_changes, self.mask_changes)


class ShadowRows(Shadow):
    """A layer that multiplies rows by a matrix; a row is the last dimension.

    What its weights are rounded to is kept in `kept`, by their names, while there is one: see `rounding_once`.
    """

    kind = "linear"
    row_dims = 1
    kept: dict[str, Kept] | None = None

    def product(self, x: Tensor, name: str, bias: Tensor | None) -> Tensor:
        """Map (..., I) to (..., O) as the artifact will; rows of whole numbers by the faster `QuantizedLinear`."""
        if self.served or self.spec is None or self.spec.inputs != "row":
            return nn.functional.linear(self.seen(x), self.weight_as_served(name), bias)
        return alone(self._whole_product, x, name, bias, self.spec.bits)

    def _whole_product(self, x: Tensor, name: str, bias: Tensor | None, bits: int) -> Tensor:
        weight, mask = self.turned(getattr(self, name)), self.turned(getattr(self, mask_name(name)))
        rows = x if x.dim() == 2 else x.reshape(-1, weight.shape[1])
        rounded = self._rounded(name, weight_levels(bits))
        out: Tensor = QuantizedLinear.apply(rows, weight, mask, bias, rounded)  # type: ignore[no-untyped-call]
        return out if x.dim() == 2 else out.reshape(*x.shape[:-1], len(weight))

    def _rounded(self, name: str, levels: int) -> tuple[Tensor, Tensor]:
        """Return a weight under its mask as whole numbers (O, I) and scales (O, 1)."""
        weight, mask = getattr(self, name).detach(), getattr(self, mask_name(name))
        if self.kept and name in self.kept and (found := self.kept[name]).of(weight, mask):
            return found.rounded
        rounded = quantize_rows(self.turned(weight) * self.turned(mask), levels)
        if self.kept is not None:
            self.kept[name] = Kept(weight, mask, changes(weight), changes(mask), rounded)
        return rounded


@contextmanager
def rounding_once(kept: Mapping[ShadowRows, dict[str, Kept]]) -> Iterator[None]:
    """Let layers round a weight anew only if it or its mask has changed, until the block ends; `kept` outlives it.

    torch does not count what its fused optimizers change: clear `kept` after their steps.
    """
    for layer, own in kept.items():
        layer.kept = own
    try:
        yield
    finally:
        for layer in kept:
            layer.kept = None


class ShadowLinear(ShadowRows, nn.Linear):
    """A Linear."""

    def forward(self, input: Tensor) -> Tensor:
        """Map (..., I) to (..., O)."""
        return self.product(input, "weight", self.bias)


class ShadowTransposed(ShadowRows):
    """GPT-2's Linear, `Conv1D` of transformers, whose weight is (I, O). Not a subclass: transformers is optional."""

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

    def forward(self, input: Tensor) -> Tensor:
        """Return the outputs as the artifact will compute them."""
        out: Tensor = self._conv_forward(self.seen(input), self.weight_as_served(), self.bias)
        return out


class ShadowConv2d(Shadow, nn.Conv2d):
    """A row is one sample (C, H, W)."""

    kind = "conv"
    row_dims = 3

    def forward(self, input: Tensor) -> Tensor:
        """Return the outputs as the artifact will compute them."""
        out: Tensor = self._conv_forward(self.seen(input), self.weight_as_served(), self.bias)
        return out


class ShadowEmbedding(Shadow, nn.Embedding):
    """Only the rows that are looked up are rounded; each has a scale of its own."""

    kind = "embedding"

    def forward(self, input: Tensor) -> Tensor:
        """Map indices (...) to rows (..., D)."""
        rows, indices = super().forward(input), input.reshape(-1)
        if self.served:
            return rows
        mask = self.mask.index_select(0, indices)
        rounded: Tensor = Rounded.apply(rows.reshape(-1, rows.shape[-1]), mask, self.spec)  # type: ignore[no-untyped-call]
        return rounded.reshape(rows.shape)


class ShadowRecurrent(Shadow, nn.RNNBase):
    """LSTM, GRU or RNN: all matrices are compressed, with a scale for each row of a gate."""

    kind = "recurrent"

    def weight_names(self) -> tuple[str, ...]:
        """Return the names of the parameters that are compressed."""
        return matrix_names(self)

    def forward(self, *inputs: Any, **named: Any) -> Any:
        """Return what torch's own layer does, computed with the weights as they will be served."""
        with matrices_as(self, self.weight_as_served):
            return super().forward(*inputs, **named)


class ShadowLSTM(ShadowRecurrent, nn.LSTM):
    """An LSTM."""


class ShadowGRU(ShadowRecurrent, nn.GRU):
    """A GRU."""


class ShadowRNN(ShadowRecurrent, nn.RNN):
    """A plain recurrent network."""
