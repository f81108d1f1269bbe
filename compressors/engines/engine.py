"""Engines: ways to run one serving model, an `nn.Module` with `Int8Linear` layers.

Owns the engines and the layers that they exchange. Does not know artifacts, nothing of an engine is in their format, or
which one is chosen. N rows, I inputs, O outputs of a layer.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from importlib.util import find_spec
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from compressors.engines.onnx import IntegerLinear, export_onnx
from compressors.engines.widths import Width
from compressors.quantization.int8 import Int8Linear, constant, int8_is_exact, substitute

Run = Callable[..., Tensor]
SLOW = ("SkipLayerNormFusion",)  # onnxruntime 1.32: its fused sum and norm take 14 times as long as the two apart
MOST_BLOCK = 128  # inputs that share a scale in MatMulNBits; onnxruntime's int8 kernels end at 256
LEAST_BLOCK = 16
INTEGERS = {f"tensor({name})": np.dtype(name) for name in ("int8", "int16", "int32", "int64", "uint8")}
FLOATS = {"tensor(float16)": np.float16, "tensor(float)": np.float32, "tensor(double)": np.float64}
DTYPES = INTEGERS | {name: np.dtype(kind) for name, kind in FLOATS.items()} | {"tensor(bool)": np.dtype(np.bool_)}


@dataclass(frozen=True, kw_only=True)
class Engine:
    """A way to run a serving model: `prepare(model, inputs)` leaves the model as it is; `inputs` are sample rows.

    `packages` must be installed. No answer may depend on its batch mates.
    """

    name: str
    prepare: Callable[[nn.Module, Sequence[Tensor]], Run]
    packages: tuple[str, ...] = ()

    def missing(self) -> str | None:
        """Say what this machine lacks to run it."""
        lacking = [name for name in self.packages if find_spec(name) is None]
        return f"not installed: {', '.join(lacking)}" if lacking else None


# ── Layers that multiply the same weights otherwise ─────────────────────────────────────────────────────────────────


class FloatLinear(nn.Module):
    """The whole-number weights back in a float kind, and float inputs: nothing but the weights is rounded."""

    weight: Tensor
    bias: Tensor | None

    def __init__(self, layer: Int8Linear, kind: torch.dtype = torch.float32) -> None:
        super().__init__()
        self.kind = kind
        weight = _whole(layer).float() * layer.scale.t()
        self.weight = constant(weight.to(kind))
        self.register_buffer(
            "bias", None if layer.bias_tensor is None else layer.bias_tensor.to(kind), persistent=False
        )

    def forward(self, input: Tensor) -> Tensor:
        """Map (..., I) to (..., O)."""
        return F.linear(input.to(self.kind), self.weight, self.bias).to(input.dtype)


class NBitsLinear(nn.Module):
    """`Int8Linear` as the one operator of onnxruntime that gives each row its own scales: MatMulNBits in int8.

    A row has a scale for every 128 inputs, one if it has no more, so no answer depends on its batch mates. Weights are
    the same whole numbers.
    """

    packed: Tensor
    scale: Tensor
    bias: Tensor | None

    def __init__(self, layer: Int8Linear) -> None:
        super().__init__()
        self.inputs, self.outputs = layer.columns.shape
        self.block = min(MOST_BLOCK, max(LEAST_BLOCK, 1 << (self.inputs - 1).bit_length()))
        blocks = -(-self.inputs // self.block)
        padded = F.pad(_whole(layer), (0, blocks * self.block - self.inputs))
        self.register_buffer("packed", (padded.int() + 128).to(torch.uint8).reshape(-1, blocks, self.block))
        self.scale = constant(layer.scale.t().repeat(1, blocks))
        self.register_buffer("bias", layer.bias_tensor)

    def forward(self, input: Tensor) -> Tensor:
        """Map (..., I) to (..., O)."""
        return torch.onnx.ops.symbolic(
            "com.microsoft::MatMulNBits",
            (input, self.packed, self.scale, None, None, self.bias),
            {"K": self.inputs, "N": self.outputs, "bits": 8, "block_size": self.block, "accuracy_level": 4},
            dtype=torch.float32,
            shape=(*input.shape[:-1], self.outputs),
            version=1,
        )


def _whole(layer: Int8Linear) -> Tensor:
    """Return the whole-number weights (O, I), in canonical strides."""
    return layer.columns.t().to(torch.int8).clone(memory_format=torch.contiguous_format)


# ── The engines ─────────────────────────────────────────────────────────────────────────────────────────────────────


Make = Callable[[Int8Linear], nn.Module]


def _torch_with(make: Make) -> Callable[[nn.Module, Sequence[Tensor]], Run]:
    return lambda model, inputs: substitute(_with_int8(model), make)


def _onnxruntime(model: nn.Module, inputs: Sequence[Tensor]) -> Run:
    return Session(export_onnx(model, inputs, partial(IntegerLinear, signed=int8_is_exact())))


def _onnxruntime_with(make: Make) -> Callable[[nn.Module, Sequence[Tensor]], Run]:
    return lambda model, inputs: Session(export_onnx(_with_int8(model), inputs, make))


def _with_int8(model: nn.Module) -> nn.Module:
    if not any(isinstance(layer, Int8Linear) for layer in model.modules()):
        raise ValueError("it has no int8 layer to exchange")
    return model


class Session:
    """An ONNX file, `data`, as a function of tensors, run by onnxruntime on as many threads as torch has.

    `tensors` are the external initializers of the file by name. `without` names optimizers of onnxruntime to leave out.
    `found` are the widths that it will meet, where they differ.
    """

    def __init__(
        self,
        data: bytes,
        without: Sequence[str] = SLOW,
        tensors: Mapping[str, np.ndarray[Any, Any]] | None = None,
        found: Sequence[Width] = (),
    ) -> None:
        runtime = import_module("onnxruntime")
        options = runtime.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads = torch.get_num_threads(), 1
        options.log_severity_level = 4  # what is fatal: errors are raised
        options.enable_mem_pattern = not found  # else it keeps a plan of memory for each shape that it meets
        values = [runtime.OrtValue.ortvalue_from_numpy(t) for t in (tensors or {}).values()]  # read as it is made
        options.add_external_initializers(list(tensors or ()), values)
        self.data, self._found = data, found
        self._made = runtime.InferenceSession(
            data, options, providers=["CPUExecutionProvider"], disabled_optimizers=list(without)
        )
        self._names = [one.name for one in self._made.get_inputs()]
        self._outputs = [self._made.get_outputs()[0].name]
        self._run = getattr(self._made, "_sess", self._made).run  # without run's checks in Python: 2.5 of 47 µs
        self._options = runtime.RunOptions()  # made once: 1.3 µs a run

    def warm_up(self) -> None:
        """Answer a row of zeros, of the least and of the most of its widths: the first call allocates.

        Raises:
            LookupError: an input has a type that torch and numpy do not share.
            Exception: any of onnxruntime's errors.
        """
        least = {(w.input, w.dimension): w.least for w in self._found}
        most = {(w.input, w.dimension): w.most for w in self._found}
        for sizes in (least, most) if self._found else ({},):
            self._made.run(self._outputs, self._zeros(sizes))

    def _zeros(self, sizes: Mapping[tuple[int, int], int]) -> dict[str, np.ndarray[Any, Any]]:
        """Return one row of zeros; `sizes` are those of the open dimensions, by input and dimension."""
        return {
            one.name: np.zeros(
                [1, *(sizes.get((i, d), size) for d, size in enumerate(one.shape[1:], 1))], DTYPES[one.type]
            )
            for i, one in enumerate(self._made.get_inputs())
        }

    def takes(self, inputs: Sequence[Tensor]) -> bool:
        """Return whether these are of the file's shapes: a dimension that is not open has one size."""
        shapes = [one.shape for one in self._made.get_inputs()]
        return len(shapes) == len(inputs) and all(
            len(shape) == t.dim() and all(isinstance(a, str) or a == b for a, b in zip(shape, t.shape, strict=True))
            for shape, t in zip(shapes, inputs, strict=True)
        )

    def __call__(self, *inputs: Tensor) -> Tensor:
        """Return the first output; an input too few or too many is an error of onnxruntime's."""
        rows = dict(zip(self._names, map(Tensor.numpy, inputs), strict=True))
        return torch.from_numpy(self._run(self._outputs, rows, self._options)[0])


ONNX = ("onnx", "onnxscript", "onnxruntime")
ENGINES = (
    Engine(name="float32", prepare=_torch_with(FloatLinear)),
    Engine(name="bfloat16", prepare=_torch_with(lambda layer: FloatLinear(layer, torch.bfloat16))),
    Engine(name="onnxruntime", prepare=_onnxruntime, packages=ONNX),
    Engine(name="onnxruntime-nbits", prepare=_onnxruntime_with(NBitsLinear), packages=ONNX),
    Engine(name="onnxruntime-float", prepare=_onnxruntime_with(FloatLinear), packages=ONNX),
)
