"""The choice of an engine, by measuring on this machine.

Owns the measurement and the proof that answers agree. Which one is fastest depends on the processor and on the number
of rows, so it is measured, never assumed. Does not know how an engine works.
"""

import math
import time
from bisect import bisect_left
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn

from compressors.artifact.parity import Parity, parity
from compressors.engines.engine import ENGINES, Engine, Run

ROUND_S = 0.002  # shorter than what the system gives a process at a time, so that some rounds are undisturbed
LEAST_ROUNDS = 3
MEAN = 5e-3  # an engine's mean difference from the model; largest and changed are bounded as an artifact's


def near(found: Parity) -> str | None:
    """Say why an engine's answers are too far from the model's, None if they are not.

    On average they may be five times as far as an artifact's from its training form: the same whole numbers, scaled in
    another order, round otherwise here and there, and each layer behind makes steps of it (6 layers of MiniLM: 0.0012).
    Float inputs pass too (0.001 to 0.003): they leave out a rounding that the training form has.
    """
    return found.refusal(MEAN, "engine and model")


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


def fastest(
    model: nn.Module,
    inputs: Sequence[Tensor],
    rows: Sequence[int] = (1, 8, 64, 512),
    *,
    engines: Sequence[Engine] = ENGINES,
    allowed: Callable[[Parity], str | None] = near,
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
    with torch.inference_mode():
        answered = model(*inputs)
    timings = []
    for n in sorted(set(rows)):
        agreeing = dict(_agreeing(runs, model, answered, inputs, n, allowed, refused))
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
    runs: Mapping[str, Run],
    model: nn.Module,
    answered: Tensor,
    inputs: Sequence[Tensor],
    n: int,
    allowed: Callable[[Parity], str | None],
    refused: dict[str, str],
) -> Iterator[tuple[str, Run]]:
    """Give those that answer as the model does when they get the sample rows in batches of `n`."""
    for name, run in runs.items():
        refusal = None if run is model else allowed(parity(lambda *_: answered, _in_batches(run, n), inputs))
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
