"""How a served model multiplies: its `Int8Linear` layers exchanged for those of one arithmetic, all to be exported.

    row8    int8, each row of inputs with a scale of its own: what the artifact says, to the last bits
    float   float inputs, and nothing rounded but the weights
    mixed   the first layer as in float; the others int8, whose inputs have ranges that stand still: no pass over them

Owns the layers and the ranges. Does not know ONNX files or what runs them. The arithmetic belongs to the version: other
ranges are another version. N rows, I inputs, O outputs of a layer.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn

from compressors.answers import as_rows, parts
from compressors.engines.engine import FloatLinear
from compressors.engines.onnx import ZERO
from compressors.errors import EngineError
from compressors.quantization.int8 import Int8Linear, constant, int8_is_exact, substitute
from compressors.quantization.quantize import row_scale
from compressors.rows import Rows

Arithmetic = Literal["mixed", "float", "row8"]
WIDER = 1.25  # times the largest input seen: beyond it inputs are clipped. At 1.0 single answers were off by 0.05
LEVELS = 255


class Range(NamedTuple):
    """What a layer's inputs were: the largest magnitude, and whether any was negative."""

    largest: float
    negative: bool


class Watched(NamedTuple):
    """The int8 layers of a model by name, in the order in which they ran; `tokens`: some saw several rows a sample."""

    ranges: dict[str, Range]
    tokens: bool


def watch(model: nn.Module, rows: Rows | Sequence[Tensor]) -> Watched:
    """Run the model on rows, and return what its int8 layers saw; the ranges are for `mixed`."""
    ranges: dict[str, Range] = {}
    tokens: list[bool] = []
    with torch.no_grad(), _watching(model, ranges, tokens):
        for _, batch in parts([model], as_rows(rows)):
            model(*batch)
    return Watched(ranges, any(tokens))


@contextmanager
def _watching(model: nn.Module, ranges: dict[str, Range], tokens: list[bool]) -> Iterator[None]:
    def seen(name: str, x: Tensor) -> None:
        before = ranges.get(name, Range(0.0, False))
        now = Range(float(x.abs().amax()), bool((x < 0).any()))
        ranges[name] = Range(max(before.largest, now.largest), before.negative or now.negative)
        tokens.append(x.dim() > 2)

    layers = [(name, layer) for name, layer in model.named_modules() if isinstance(layer, Int8Linear)]
    hooks = [
        layer.register_forward_pre_hook(
            lambda _, args, named, name=name: seen(name, *args, *named.values()), with_kwargs=True
        )
        for name, layer in layers
    ]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def ways(watched: Watched) -> tuple[Arithmetic, ...]:
    """Return the arithmetics that suit a model, the fastest first.

    Ranges that stand still lose too much in transformers (MiniLM-L6: off by 0.27), and float gains nothing there.
    """
    if not watched.ranges:
        return ("float",)
    if watched.tokens:
        return ("row8",)
    return ("mixed", "float", "row8") if len(watched.ranges) > 1 else ("float", "row8")


def arranged(model: nn.Module, arithmetic: Arithmetic, ranges: Mapping[str, Range], *, signed: bool) -> nn.Module:
    """Return a copy of a served model that multiplies so; `ranges` are in the order in which the layers run.

    `signed` int8 weights are exact only where `signed_is_exact`.

    Raises:
        EngineError: mixed, and a layer has no range.
    """
    names = {layer: name for name, layer in model.named_modules() if isinstance(layer, Int8Linear)}
    first = next(iter(ranges), None)

    def made(layer: Int8Linear) -> nn.Module:
        name = names[layer]
        if arithmetic == "row8":
            return RowLinear(layer, signed=signed)
        if arithmetic == "float" or name == first:
            return FloatLinear(layer)
        if name not in ranges:
            raise EngineError(f"{name} has no range: it did not run on the rows that gave the ranges")
        return RangeLinear(layer, ranges[name], signed=signed)

    return substitute(model, made).eval()


def signed_is_exact() -> bool:
    """Tell whether this processor multiplies unsigned by signed int8 exactly: x86 does with VNNI alone."""
    return int8_is_exact()


class _Whole(nn.Module):
    """The whole-number weights, for an operator of onnxruntime. It can be exported, not run."""

    columns: Tensor
    scale: Tensor
    bias: Tensor | None
    weight_zero: Tensor | None

    def __init__(self, layer: Int8Linear, *, signed: bool) -> None:
        super().__init__()
        whole = layer.columns.to(torch.int8)
        columns = whole if signed else (whole.int() + ZERO).to(torch.uint8)
        self.register_buffer("columns", columns.contiguous())
        self.scale = constant(layer.scale.reshape(-1))
        self.register_buffer("bias", layer.bias_tensor)
        zeros = torch.full((columns.shape[1],), ZERO, dtype=torch.uint8)
        self.register_buffer("weight_zero", None if signed else zeros)

    def product(self, whole: Tensor, scale: Tensor, zero: Tensor, bias: Tensor | None) -> Tensor:
        """Multiply `whole` (N, I), uint8, by the weights, and scale both; one operator, so nothing lies between."""
        return torch.onnx.ops.symbolic(
            "com.microsoft::MatMulIntegerToFloat",
            (whole, self.columns, scale, self.scale, zero, self.weight_zero, bias),
            dtype=torch.float32,
            shape=(*whole.shape[:-1], self.columns.shape[1]),
            version=1,
        )


class RowLinear(_Whole):
    """Int8 with a scale for each row of inputs, as `Int8Linear` has."""

    one: Tensor
    zero: Tensor

    def __init__(self, layer: Int8Linear, *, signed: bool) -> None:
        super().__init__(layer, signed=signed)
        self.register_buffer("one", torch.tensor(1.0))
        self.register_buffer("zero", torch.tensor(ZERO, dtype=torch.uint8))

    def forward(self, input: Tensor) -> Tensor:
        """Map (..., I) to (..., O)."""
        rows = input.reshape(-1, self.columns.shape[0])
        scale = row_scale(rows, 1)
        scaled = (rows, scale.reshape(-1), self.zero.expand(rows.shape[0]))
        whole = torch.onnx.ops.symbolic("QuantizeLinear", scaled, {"axis": 0}, dtype=torch.uint8, shape=rows.shape)
        out = self.product(whole, self.one, self.zero, None) * scale
        out = out if self.bias is None else out + self.bias
        return out.reshape(*input.shape[:-1], self.columns.shape[1])


class RangeLinear(_Whole):
    """Int8 inputs with one scale for all rows, of a range that stands still; inputs beyond it are clipped.

    Where no input was negative, all 256 steps lie above zero.
    """

    step: Tensor
    zero: Tensor

    def __init__(self, layer: Int8Linear, seen: Range, *, signed: bool) -> None:
        super().__init__(layer, signed=signed)
        largest = max(WIDER * seen.largest, 1e-30)
        steps, zero = (LEVELS // 2, ZERO) if seen.negative else (LEVELS, 0)
        self.register_buffer("step", torch.tensor(largest / steps))
        self.register_buffer("zero", torch.tensor(zero, dtype=torch.uint8))

    def forward(self, input: Tensor) -> Tensor:
        """Map (..., I) to (..., O)."""
        whole = torch.onnx.ops.symbolic(
            "QuantizeLinear", (input, self.step, self.zero), dtype=torch.uint8, shape=input.shape
        )
        return self.product(whole, self.step, self.zero, self.bias)
