"""A serving model as an ONNX file: standard operators alone, int8 weights that stay int8, any number of rows.

Owns the translation of `Int8Linear` to ONNX. Does not know artifacts, or who runs the file. Needs the packages
onnx and onnxscript.
"""

import logging
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from compressors.internals import EXPORTER_LOGGER
from compressors.quantization.int8 import Int8Linear, constant, substitute
from compressors.quantization.quantize import rescale, row_scale

ZERO = 128

# Warnings of torch's exporter (2.13) about itself, not about the model, each by how its text begins.
WARNINGS: tuple[tuple[type[Warning], str], ...] = (
    (FutureWarning, r"`isinstance\(treespec, LeafSpec\)` is deprecated"),
    (UserWarning, "# The axis name: rows will not be used"),  # two inputs share their rows, as they should
)
TORCHVISION = "torchvision is not installed. Skipping"  # its operators, which our models do not use


class IntegerLinear(nn.Module):
    """`Int8Linear` in ONNX operators: QuantizeLinear with a scale for each row, then MatMulInteger with int32 sums.

    Inputs are unsigned with zero point 128: for signed ones onnxruntime (1.32, x86) runs its reference code, ten times
    slower. Unsigned weights are exact on every processor. Signed ones are twice as fast, and exact only on x86 with
    VNNI: without it onnxruntime adds pairs of products in saturating int16. The layer can be exported, not run.
    """

    columns: Tensor
    scale: Tensor
    bias: Tensor | None
    zero: Tensor

    def __init__(self, layer: Int8Linear, *, signed: bool = False) -> None:
        super().__init__()
        whole = layer.columns.to(torch.int8)
        self.register_buffer("columns", whole if signed else (whole.int() + ZERO).to(torch.uint8), persistent=False)
        self.scale = constant(layer.scale)
        self.register_buffer("bias", layer.bias_tensor, persistent=False)
        self.register_buffer("zero", torch.tensor(ZERO, dtype=torch.uint8), persistent=False)
        self.zeros = () if signed else (self.zero,)

    def forward(self, input: Tensor) -> Tensor:
        """Map (..., I) to (..., O)."""
        rows = input.reshape(-1, self.columns.shape[0])
        scale = row_scale(rows, 1)
        scaled = (rows, scale.reshape(-1), self.zero.expand(rows.shape[0]))
        whole = torch.onnx.ops.symbolic("QuantizeLinear", scaled, {"axis": 0}, dtype=torch.uint8, shape=rows.shape)
        factors = (whole, self.columns, self.zero, *self.zeros)
        sums = torch.onnx.ops.symbolic(
            "MatMulInteger", factors, dtype=torch.int32, shape=(rows.shape[0], self.columns.shape[1])
        )
        return rescale(sums, scale, self.scale, self.bias).reshape(*input.shape[:-1], self.columns.shape[1])


class Guarded(nn.Module):
    """A model that answers a row with NaN or infinity in a float input by NaN: onnxruntime's maximum ignores NaN."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, *inputs: Tensor) -> Tensor:
        """Return the model's outputs (N, ...)."""
        return guarded(self.model(*inputs), inputs)


def guarded(out: Tensor, inputs: Sequence[Tensor]) -> Tensor:
    """Return outputs (N, ...) that are NaN where a row of a float input holds NaN or an infinity."""
    for t in inputs:
        if t.is_floating_point():
            zero_or_nan = (t.flatten(1) * 0).sum(1).to(out.dtype)
            out = out + zero_or_nan.reshape(-1, *(1 for _ in out.shape[1:]))
    return out


def export_onnx(
    model: nn.Module, inputs: Sequence[Tensor], linear: Callable[[Int8Linear], nn.Module] = IntegerLinear
) -> bytes:
    """Return the bytes of an ONNX file, less than 2 GB, that computes the model; the model itself is not changed.

    `inputs` are sample rows, each tensor (N, ...), to trace the model with. In the file the first dimension of every
    input and of the output is open; all others are as in `inputs`. `linear` makes the module that is exported in the
    place of an int8 layer; by default it uses operators of the ONNX standard alone.

    Raises:
        ImportError: onnx or onnxscript is missing.
        ValueError: the model's output has a fixed number of rows.

    Example:

    >>> import torch
    >>> from onnxruntime import InferenceSession
    >>> file = export_onnx(torch.nn.Linear(5, 1).eval(), (torch.zeros(2, 5),))
    >>> session = InferenceSession(file)
    >>> (x,) = session.get_inputs()
    >>> x.shape
    ['rows', 5]
    >>> session.run(None, {x.name: torch.ones(3, 5).numpy()})[0].shape
    (3, 1)
    """
    exported: bytes = trace(Guarded(substitute(model, linear)).eval(), inputs).SerializeToString()
    return exported


def trace(
    model: nn.Module, inputs: Sequence[Tensor], fixed: Sequence[Tensor] = (), opened: Sequence[Sequence[int]] = ()
) -> Any:
    """Return the ONNX model of what `model(*fixed, *inputs)` computes; the inputs' first dimension is open.

    So are those that `opened` names by input: the exporter finds which of them are equal.

    Raises:
        ImportError: the exporter's packages are missing.
        ValueError: the model's output has a fixed number of rows, or it takes an `opened` dimension in one size alone.
    """
    traced = tuple(torch.cat([t, t]) if len(t) == 1 else t for t in inputs)  # a dimension of 1 is taken as fixed
    rows, free = torch.export.Dim("rows"), torch.export.Dim.AUTO
    more = opened or [()] * len(traced)
    shapes = (*(None for _ in fixed), *({0: rows} | dict.fromkeys(dims, free) for dims in more))
    with _quiet(), torch.no_grad():
        program = torch.onnx.export(
            model,
            (*fixed, *traced),
            dynamo=True,
            dynamic_shapes=(shapes,),  # `*inputs` is one argument
            verbose=False,
        )
    exported = program.model_proto  # type: ignore[union-attr]  # None only without dynamo
    if not exported.graph.output[0].type.tensor_type.shape.dim[0].dim_param:
        raise ValueError(f"the model always returns as many rows as it was traced with: {len(traced[0])}")
    for value, dims in zip(list(exported.graph.input)[len(fixed) :], more, strict=True):
        for d in dims:
            if not (size := value.type.tensor_type.shape.dim[d]).dim_param:
                raise ValueError(f"the model takes dimension {d} of {value.name} in one size alone, {size.dim_value}")
    return exported


@contextmanager
def _quiet() -> Iterator[None]:
    """Suppress WARNINGS and the message TORCHVISION; let everything else through."""

    def wanted(record: logging.LogRecord) -> bool:
        return not record.getMessage().startswith(TORCHVISION)

    logger = logging.getLogger(EXPORTER_LOGGER)
    logger.addFilter(wanted)
    try:
        with warnings.catch_warnings():
            for category, message in WARNINGS:
                warnings.filterwarnings("ignore", message, category)
            yield
    finally:
        logger.removeFilter(wanted)
