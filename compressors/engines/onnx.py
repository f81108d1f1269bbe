"""A serving model as ONNX: operators of the standard only, int8 weights that stay int8, and any number of rows.

Owns how `Int8Linear` is said in ONNX. Does not know who runs the file, or artifacts. Needs the extra `onnx`.
"""

import logging
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from compressors.quantization.int8 import Int8Linear, substitute
from compressors.quantization.quantize import rescale, row_scale

ZERO = 128

# What torch's exporter (2.13) says of itself, and not of the model: each by the beginning of its text.
WARNINGS: tuple[tuple[type[Warning], str], ...] = (
    (FutureWarning, r"`isinstance\(treespec, LeafSpec\)` is deprecated"),
    (UserWarning, "# The axis name: rows will not be used"),  # two inputs share their rows, as they should
)
REGISTRATION = "torch.onnx._internal.exporter._registration"
TORCHVISION = "torchvision is not installed. Skipping"  # operators that no model without torchvision has


class IntegerLinear(nn.Module):
    """`Int8Linear` as ONNX says it: QuantizeLinear with a scale for each row, MatMulInteger, whose sums are int32.

    Inputs are unsigned with zero point 128: for signed ones onnxruntime (1.32, x86) takes its reference code, ten times
    slower. Unsigned weights are exact on every processor, signed ones twice as fast and exact only where x86 has VNNI
    (onnxruntime adds pairs of products in saturating int16 elsewhere). It runs nowhere but in ONNX.
    """

    columns: Tensor
    scale: Tensor
    bias: Tensor | None
    zero: Tensor

    def __init__(self, layer: Int8Linear, *, signed: bool = False) -> None:
        super().__init__()
        whole = layer.columns.to(torch.int8)
        self.register_buffer("columns", whole if signed else (whole.int() + ZERO).to(torch.uint8), persistent=False)
        self.register_buffer("scale", layer.scale, persistent=False)
        self.register_buffer("bias", layer.bias, persistent=False)
        self.register_buffer("zero", torch.tensor(ZERO, dtype=torch.uint8), persistent=False)
        self.zeros = () if signed else (self.zero,)

    def forward(self, x: Tensor) -> Tensor:
        """Map (..., I) to (..., O)."""
        rows = x.reshape(-1, self.columns.shape[0])
        scale = row_scale(rows, 1)
        given = (rows, scale.reshape(-1), self.zero.expand(rows.shape[0]))
        whole = torch.onnx.ops.symbolic("QuantizeLinear", given, {"axis": 0}, dtype=torch.uint8, shape=rows.shape)
        factors = (whole, self.columns, self.zero, *self.zeros)
        sums = torch.onnx.ops.symbolic(
            "MatMulInteger", factors, dtype=torch.int32, shape=(rows.shape[0], self.columns.shape[1])
        )
        return rescale(sums, scale, self.scale, self.bias).reshape(*x.shape[:-1], self.columns.shape[1])


class Guarded(nn.Module):
    """A model whose row is not finite where a float input of it is not: onnxruntime's maxima pass over a NaN."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, *inputs: Tensor) -> Tensor:
        """Give the model's outputs (N, ...)."""
        out: Tensor = self.model(*inputs)
        for t in inputs:
            if t.is_floating_point():
                nothing = (t.flatten(1) * 0).sum(1)
                out = out + nothing.reshape(-1, *(1 for _ in out.shape[1:]))
        return out


def export_onnx(
    model: nn.Module, inputs: Sequence[Tensor], linear: Callable[[Int8Linear], nn.Module] = IntegerLinear
) -> bytes:
    """Give the model, which stays as it is, as an ONNX file of less than 2 GB. `inputs` are rows to trace it with.

    Every input's and the output's first dimension is open, all others are as in `inputs`. `linear` says a layer in
    other operators than the standard's.

    Raises:
        ImportError: the packages of the extra `onnx` are missing.
        ValueError: the model's output has a fixed number of rows.
    """
    traced = tuple(torch.cat([t, t]) if len(t) == 1 else t for t in inputs)  # one row would count as a constant
    rows = torch.export.Dim("rows")
    with _quiet(), torch.no_grad():
        program = torch.onnx.export(
            Guarded(substitute(model, linear)).eval(),
            traced,
            dynamo=True,
            dynamic_shapes=(tuple({0: rows} for _ in traced),),  # of `*inputs`, which count as one
            verbose=False,
        )
    made = program.model_proto  # type: ignore[union-attr]  # None only without dynamo
    if not made.graph.output[0].type.tensor_type.shape.dim[0].dim_param:
        raise ValueError(f"the model always gives as many rows as it was traced with: {len(traced[0])}")
    return made.SerializeToString()


@contextmanager
def _quiet() -> Iterator[None]:
    """Hear nothing of WARNINGS and TORCHVISION, and everything else."""

    def other(record: logging.LogRecord) -> bool:
        return not record.getMessage().startswith(TORCHVISION)

    logger = logging.getLogger(REGISTRATION)
    logger.addFilter(other)
    try:
        with warnings.catch_warnings():
            for category, message in WARNINGS:
                warnings.filterwarnings("ignore", message, category)
            yield
    finally:
        logger.removeFilter(other)
