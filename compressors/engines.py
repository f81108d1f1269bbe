"""Engines: ways to run one serving model, and the measurement on this machine that chooses among them.

Owns the engines and the choice. Does not know artifacts: nothing of an engine is in their format, and every engine runs
the same loaded model, an `nn.Module` with `Int8Linear` layers. Which one is fastest depends on the processor and on the
number of rows, so it is measured, never assumed. N rows, I inputs, O outputs of a layer.
"""

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
from compressors.parity import parity
from compressors.quantize import INPUT_LEVELS, quantize_rows

Run = Callable[..., Tensor]
Inputs = Sequence[Tensor]


@dataclass(frozen=True, kw_only=True)
class Engine:
    """A way to run a serving model: `prepare(model, inputs)`, which leaves the model as it is; `inputs` are sample rows.

    `packages` must be installed. Where `alone`, the rows of a batch share one range, so the engine may answer single rows
    only: no answer may depend on its batch mates.
    """

    name: str
    prepare: Callable[[nn.Module, Inputs], Run]
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

    `refused` says of each other engine why it was left out, everywhere or "at N rows".
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


def fastest(
    model: nn.Module,
    inputs: Inputs,
    rows: Sequence[int] = (1, 8, 64, 512),
    *,
    engines: Sequence[Engine] | None = None,
    seconds: float = 0.1,
    clock: Callable[[], float] = time.perf_counter,
) -> Fastest:
    """Measure each engine on batches of each size made from `inputs`, and keep the fastest of those that answer alike.

    The model itself is the reference and takes part as `torch`. Each engine gets `seconds` at each size, in turns with
    the others, with as many threads as torch has now.

    Raises:
        ValueError: there are no sizes, or no sample rows.
    """
    if not rows or min(rows) < 1 or len(inputs[0]) == 0:
        raise ValueError(f"fastest needs sample rows and batch sizes of at least 1, got {list(rows)}")
    refused: dict[str, str] = {}
    found = {engine: run for engine in ENGINES if engines is None else engines for run in _ready(engine, model, inputs, refused)}
    runs: dict[str, Run] = {"torch": model} | {engine.name: run for engine, run in found.items()}
    chosen, timings = {}, []
    for n in sorted(set(rows)):
        batch = _batch(inputs, n)
        able = {"torch": model} | {e.name: run for e, run in found.items() if n == 1 or not e.alone}
        ...
