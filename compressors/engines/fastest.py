"""The choice of an engine, by measurement on this machine.

Owns the measurement and the proof that answers agree. Which engine is fastest depends on the processor and on the
number of rows, so it is measured, never assumed. Does not know how an engine works.
"""

import math
import time
from bisect import bisect_left
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn

from compressors import scale
from compressors.answers import answers
from compressors.artifact.parity import Parity, parity_of
from compressors.engines.engine import ENGINES, Engine, Run

ROUND_S = 0.002  # shorter than a scheduler's time slice, so that some rounds are undisturbed
LEAST_ROUNDS = 3
MEAN = 5e-3  # bound of the mean difference; `largest` and `changed` have the bounds of an artifact


def near(difference: Parity) -> str | None:
    """Say why an engine's answers are too far from the model's, or None if they are near enough.

    The mean may be five times what an artifact may differ from its training form. The same whole numbers, scaled in
    another order, now and then round the other way, and each later layer turns that into a whole int8 step (6 layers
    of MiniLM: 0.0012). Float inputs pass too (0.001 to 0.003): they skip a rounding that the training form has.
    """
    return difference.refusal(MEAN, "engine and model")


class Timing(NamedTuple):
    """Microseconds that an engine takes for a batch of `rows` rows."""

    engine: str
    rows: int
    us: float


@dataclass(frozen=True, kw_only=True)
class Fastest:
    """The model, run for each batch by the engine that was fastest at that size.

    `chosen` names the engine for each measured size; a size in between goes to the next larger one, a size above all of
    them to the largest. `refused` gives the reason for each engine that was left out, by its name, or by "name at N
    rows" if it was left out at one size.
    """

    chosen: Mapping[int, str]
    timings: tuple[Timing, ...]
    refused: Mapping[str, str]
    runs: Mapping[str, Run]

    def __call__(self, *inputs: Tensor) -> Tensor:
        """Return the outputs (N, K)."""
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
    """Time the engines at each batch size in `rows`, and return the model run by the fastest one that agrees with it.

    `model` maps inputs (N, ...) to outputs (N, K) and is in eval mode. It takes part as `torch` and is the reference:
    `allowed` returns the reason why a difference from its answers is too large, or None. `inputs` are sample rows; the
    more there are, the stronger the proof of agreement. Each engine runs for about `seconds` at each size, in turn with
    the others, on as many threads as torch has. `clock` returns seconds.

    Raises:
        ValueError: `rows` is empty or has a size below 1, or there are no sample rows.

    Example: this model has no int8 layer, which the engine `float32` needs, so torch runs every size.

    >>> import torch
    >>> from compressors.engines.engine import ENGINES
    >>> model = torch.nn.Linear(5, 1).eval()
    >>> quick = fastest(model, (torch.randn(64, 5),), rows=(1, 8), engines=ENGINES[:1], seconds=0)
    >>> quick.chosen
    {1: 'torch', 8: 'torch'}
    >>> quick.refused
    {'float32': 'not for this model or machine: it has no int8 layer to exchange'}
    >>> quick(torch.randn(3, 5)).shape
    torch.Size([3, 1])
    """
    if not rows or min(rows) < 1 or len(inputs[0]) < 1:
        raise ValueError(f"fastest needs sample rows and batch sizes of at least 1, got {list(rows)}")
    refused: dict[str, str] = {}
    runs = {"torch": model} | dict(_prepared(model, inputs, engines, refused))
    answered = answers(model, inputs)
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
    """Yield those that agree with the model on the sample rows in batches of `n`; `refused` gets why others do not."""
    for name, run in runs.items():
        refusal = None if run is model else allowed(parity_of(answered, _in_batches(run, inputs, n), scale.zero(model)))
        if refusal is None:
            yield name, run
        else:
            refused[f"{name} at {n} rows"] = refusal


def _in_batches(run: Run, inputs: Sequence[Tensor], n: int) -> Tensor:
    with torch.inference_mode():
        return torch.cat([run(*part) for part in zip(*(torch.split(t, n) for t in inputs), strict=True)])


def _batch(inputs: Sequence[Tensor], n: int) -> tuple[Tensor, ...]:
    """Return `n` rows: the sample rows, repeated where there are fewer."""
    indices = torch.arange(n) % len(inputs[0])
    return tuple(t[indices] for t in inputs)


def _measure(
    runs: Mapping[str, Run], batch: Sequence[Tensor], seconds: float, clock: Callable[[], float]
) -> Iterator[tuple[str, float]]:
    """Yield each one's microseconds a call: the mean of its best round, since other work only ever adds time."""
    best = dict.fromkeys(runs, math.inf)
    with torch.no_grad():
        calls = {name: _calls(run, batch, clock) for name, run in runs.items()}
        end, rounds = clock() + seconds * len(runs), 0
        while rounds < LEAST_ROUNDS or clock() < end:
            for name, run in runs.items():
                best[name] = min(best[name], _timed(run, batch, calls[name], clock))
            rounds += 1
    return ((name, 1e6 * s) for name, s in best.items())


def _calls(run: Run, batch: Sequence[Tensor], clock: Callable[[], float]) -> int:
    run(*batch)  # the first call allocates and packs
    return max(1, int(ROUND_S / max(_timed(run, batch, 1, clock), 1e-6)))


def _timed(run: Run, batch: Sequence[Tensor], calls: int, clock: Callable[[], float]) -> float:
    start = clock()
    for _ in range(calls):
        run(*batch)
    return (clock() - start) / calls
