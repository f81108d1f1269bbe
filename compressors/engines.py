"""Engines: ways to run one serving model, and the measurement on this machine that chooses among them.

Owns the engines and the choice. Does not know artifacts: nothing of an engine is in their format, and every engine runs
the same loaded model, an `nn.Module` with `Int8Linear` layers. Which one is fastest depends on the processor and on the
number of rows, so it is measured, never assumed. N rows, I inputs, O outputs of a layer.
"""

import math
import time
from bisect import bisect_left
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from compressors.int8 import Int8Linear, substitute
from compressors.onnx import export_onnx
from compressors.parity import Parity, parity
from compressors.quantize import INPUT_LEVELS, quantize_rows

Run = Callable[..., Tensor]
ROUND_S = 0.002  # shorter than what the system gives a process at a time, so that some rounds are undisturbed
LEAST_ROUNDS = 3
BLOCK = 128  # inputs that share a scale in MatMulNBits; onnxruntime's int8 kernels end at 256


@dataclass(frozen=True, kw_only=True)
class Engine:
    """A way to run a serving model: `prepare(model, inputs)` leaves the model as it is; `inputs` are sample rows.

    `packages` must be installed. Where `alone`, the rows of a batch would share one range, so the engine gets single
    rows only: no answer may depend on its batch mates.
    """

    name: str
    prepare: Callable[[nn.Module, Sequence[Tensor]], Run]
    packages: tuple[str, ...] = ()
    alone: bool = False

    def missing(self) -> str | None:
        """Say what this machine lacks to run it."""
        lacking = [name for name in self.packages if find_spec(name) is None]
        return f"not installed: {', '.join(lacking)}" if lacking else None


class Timing(NamedTuple):
    """Microseconds that an engine takes for a batch of so many rows."""

    engine: str
    rows: int
    us: float


@dataclass(frozen=True, kw_only=True)
class Fastest:
    """The model, run by the engine that was fastest for a batch's size: of the sizes measured, the next one up.

    `refused` says of each engine that was left out why, under its name or, where it was at one size, "name at N rows".
    """

    chosen: Mapping[int, str]
    timings: tuple[Timing, ...]
    refused: Mapping[str, str]
    runs: Mapping[str, Run]

    def __call__(self, *inputs: Tensor) -> Tensor:
        """Give the outputs (N, K)."""
        sizes = list(self.chosen)
        at = min(bisect_left(sizes, len(inputs[0])), len(sizes) - 1)
        return self.runs[self.chosen[sizes[at]]](*inputs)


# ── Layers that multiply the same whole numbers otherwise ───────────────────────────────────────────────────────────


class OneDnnLinear(nn.Module):
    """`Int8Linear` with weights laid out for oneDNN once, which also applies their scales: faster in large batches.

    Rows are shifted to unsigned: for signed ones oneDNN (of torch 2.13) took its reference code, 100 times slower.
    """

    def __init__(self, layer: Int8Linear) -> None:
        super().__init__()
        self.inputs, self.outputs = layer.columns.shape
        self.weight = torch.ops.onednn.qlinear_prepack(_whole(layer), None)
        self.scale, self.bias = layer.scale[0].clone(), layer.bias
        self.zeros = torch.zeros(self.outputs, dtype=torch.int64)

    def forward(self, x: Tensor) -> Tensor:
        """Map (..., I) to (..., O)."""
        whole, scale = quantize_rows(x.reshape(-1, self.inputs), INPUT_LEVELS)
        shifted = whole.add_(INPUT_LEVELS + 1).to(torch.uint8)
        weight = (self.weight, self.scale, self.zeros)
        out: Tensor = torch.ops.onednn.qlinear_pointwise(
            shifted, 1.0, INPUT_LEVELS + 1, *weight, None, 1.0, 0, torch.float32, "none", [], ""
        ).mul_(scale)
        out = out if self.bias is None else out.add_(self.bias)
        return out.reshape(*x.shape[:-1], self.outputs)


class SharedRangeLinear(nn.Module):
    """Dynamic int8 of torch's own (fbgemm): one call, but one asymmetric range for all rows of the batch."""

    def __init__(self, layer: Int8Linear) -> None:
        super().__init__()
        scale = layer.scale[0]
        weight = torch._make_per_channel_quantized_tensor(
            _whole(layer), scale.double(), torch.zeros(len(scale), dtype=torch.int64), 0
        )
        self.packed = torch.ops.quantized.linear_prepack(weight, layer.bias)

    def forward(self, x: Tensor) -> Tensor:
        """Map (..., I) to (..., O)."""
        out: Tensor = torch.ops.quantized.linear_dynamic(x, self.packed, False)
        return out


class FloatLinear(nn.Module):
    """The whole-number weights back in a float kind, and float inputs: nothing but the weights is rounded."""

    weight: Tensor
    bias: Tensor | None

    def __init__(self, layer: Int8Linear, kind: torch.dtype = torch.float32) -> None:
        super().__init__()
        self.kind = kind
        weight = _whole(layer).float() * layer.scale.t()
        self.register_buffer("weight", weight.to(kind), persistent=False)
        self.register_buffer("bias", None if layer.bias is None else layer.bias.to(kind), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Map (..., I) to (..., O)."""
        return F.linear(x.to(self.kind), self.weight, self.bias).to(x.dtype)


class NBitsLinear(nn.Module):
    """`Int8Linear` as the one operator of onnxruntime that gives each row its own scales: MatMulNBits in int8.

    A row has a scale for every 128 inputs, so no answer depends on its batch mates. Weights are the same whole numbers.
    """

    packed: Tensor
    scale: Tensor
    bias: Tensor | None

    def __init__(self, layer: Int8Linear) -> None:
        super().__init__()
        self.inputs, self.outputs = layer.columns.shape
        blocks = -(-self.inputs // BLOCK)
        padded = F.pad(_whole(layer), (0, blocks * BLOCK - self.inputs))
        self.register_buffer("packed", (padded.int() + 128).to(torch.uint8).reshape(-1, blocks, BLOCK))
        self.register_buffer("scale", layer.scale.t().repeat(1, blocks))
        self.register_buffer("bias", layer.bias)

    def forward(self, x: Tensor) -> Tensor:
        """Map (..., I) to (..., O)."""
        return torch.onnx.ops.symbolic(
            "com.microsoft::MatMulNBits",
            (x, self.packed, self.scale, None, None, self.bias),
            {"K": self.inputs, "N": self.outputs, "bits": 8, "block_size": BLOCK, "accuracy_level": 4},
            dtype=torch.float32,
            shape=(*x.shape[:-1], self.outputs),
            version=1,
        )


def _whole(layer: Int8Linear) -> Tensor:
    """Give the whole-number weights (O, I), in canonical strides."""
    return layer.columns.t().to(torch.int8).clone(memory_format=torch.contiguous_format)


# ── The engines ─────────────────────────────────────────────────────────────────────────────────────────────────────


def _torch_with(make: Callable[[Int8Linear], nn.Module]) -> Callable[[nn.Module, Sequence[Tensor]], Run]:
    return lambda model, inputs: substitute(model, make)


def _onnxruntime(model: nn.Module, inputs: Sequence[Tensor]) -> Run:
    return session(export_onnx(model, inputs))


def _onnxruntime_nbits(model: nn.Module, inputs: Sequence[Tensor]) -> Run:
    return session(export_onnx(model, inputs, NBitsLinear))


def _onnxruntime_float(model: nn.Module, inputs: Sequence[Tensor]) -> Run:
    return session(export_onnx(model, inputs, FloatLinear))


def session(data: bytes) -> Run:
    """Give an ONNX file as a function of tensors, run by onnxruntime on as many threads as torch has."""
    runtime = import_module("onnxruntime")
    options = runtime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = torch.get_num_threads(), 1
    options.log_severity_level = 3  # errors
    made = runtime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    names = [one.name for one in made.get_inputs()]

    def run(*inputs: Tensor) -> Tensor:
        given = {name: t.numpy() for name, t in zip(names, inputs, strict=True)}
        return torch.from_numpy(made.run(None, given)[0])

    return run


ONNX = ("onnx", "onnxscript", "onnxruntime")
ENGINES = (
    Engine(name="onednn", prepare=_torch_with(OneDnnLinear)),
    Engine(name="fbgemm", prepare=_torch_with(SharedRangeLinear), alone=True),
    Engine(name="float32", prepare=_torch_with(FloatLinear)),
    Engine(name="bfloat16", prepare=_torch_with(lambda layer: FloatLinear(layer, torch.bfloat16))),
    Engine(name="onnxruntime", prepare=_onnxruntime, packages=ONNX),
    Engine(name="onnxruntime-nbits", prepare=_onnxruntime_nbits, packages=ONNX),
    Engine(name="onnxruntime-float", prepare=_onnxruntime_float, packages=ONNX),
)


# ── The choice ──────────────────────────────────────────────────────────────────────────────────────────────────────


def fastest(
    model: nn.Module,
    inputs: Sequence[Tensor],
    rows: Sequence[int] = (1, 8, 64, 512),
    *,
    engines: Sequence[Engine] = ENGINES,
    allowed: Callable[[Parity], str | None] = Parity.refusal,
    seconds: float = 0.1,
    clock: Callable[[], float] = time.perf_counter,
) -> Fastest:
    """Measure the engines on batches of each size, made of the sample rows `inputs`; keep the fastest that agrees.

    The model itself is the reference and takes part as `torch`; `allowed` says of a difference from it why it is too
    much. Each engine gets about `seconds` at each size, in turns with the others, on as many threads as torch has.
    The more sample rows, the better the proof that answers agree.

    Raises:
        ValueError: there are no sizes, or no sample rows.
    """
    if not rows or min(rows) < 1 or len(inputs[0]) < 1:
        raise ValueError(f"fastest needs sample rows and batch sizes of at least 1, got {list(rows)}")
    refused: dict[str, str] = {}
    runs = {"torch": model} | dict(_prepared(model, inputs, engines, refused))
    alone = {engine.name for engine in engines if engine.alone}
    timings = []
    for n in sorted(set(rows)):
        able = {name: run for name, run in runs.items() if n == 1 or name not in alone}
        agreeing = dict(_agreeing(able, model, inputs, n, allowed, refused))
        timings += [Timing(name, n, us) for name, us in _measure(agreeing, _batch(inputs, n), seconds, clock)]
    best = {n: min((t for t in timings if t.rows == n), key=lambda t: t.us).engine for n in sorted(set(rows))}
    return Fastest(chosen=best, timings=tuple(timings), refused=refused, runs=runs)


def _prepared(
    model: nn.Module, inputs: Sequence[Tensor], engines: Sequence[Engine], refused: dict[str, str]
) -> Iterator[tuple[str, Run]]:
    for engine in engines:
        missing = engine.missing()
        if missing is None:
            try:
                yield engine.name, engine.prepare(model, inputs)
            except (ImportError, AttributeError, RuntimeError, ValueError) as wrong:
                missing = f"not for this model or machine: {wrong}"
        if missing is not None:
            refused[engine.name] = missing


def _agreeing(
    able: Mapping[str, Run],
    model: nn.Module,
    inputs: Sequence[Tensor],
    n: int,
    allowed: Callable[[Parity], str | None],
    refused: dict[str, str],
) -> Iterator[tuple[str, Run]]:
    """Give those that answer as the model does when they get the sample rows in batches of `n`."""
    for name, run in able.items():
        refusal = None if run is model else allowed(parity(model, _in_batches(run, n), inputs))
        if refusal is None:
            yield name, run
        else:
            refused[f"{name} at {n} rows"] = refusal


def _in_batches(run: Run, n: int) -> Run:
    return lambda *inputs: torch.cat([run(*part) for part in zip(*(torch.split(t, n) for t in inputs), strict=True)])


def _batch(inputs: Sequence[Tensor], n: int) -> tuple[Tensor, ...]:
    """Repeat the sample rows up to `n` of them."""
    chosen = torch.arange(n) % len(inputs[0])
    return tuple(t[chosen] for t in inputs)


def _measure(
    runs: Mapping[str, Run], batch: Sequence[Tensor], seconds: float, clock: Callable[[], float]
) -> Iterator[tuple[str, float]]:
    """Give each one's microseconds a call: its best round's mean, since what else the machine does only ever adds."""
    best = dict.fromkeys(runs, math.inf)
    with torch.inference_mode():
        calls = {name: _calls(run, batch, clock) for name, run in runs.items()}
        end, rounds = clock() + seconds * len(runs), 0
        while rounds < LEAST_ROUNDS or clock() < end:
            for name, run in runs.items():
                best[name] = min(best[name], _timed(run, batch, calls[name], clock))
            rounds += 1
    return ((name, 1e6 * s) for name, s in best.items())


def _calls(run: Run, batch: Sequence[Tensor], clock: Callable[[], float]) -> int:
    run(*batch)  # the first call lays things out
    return max(1, int(ROUND_S / max(_timed(run, batch, 1, clock), 1e-6)))


def _timed(run: Run, batch: Sequence[Tensor], calls: int, clock: Callable[[], float]) -> float:
    start = clock()
    for _ in range(calls):
        run(*batch)
    return (clock() - start) / calls
