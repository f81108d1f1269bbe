"""How long each engine takes for the examples' models on one thread, compared with the same net in plain float32.

`plain float32` is the net in torch, `plain onnxruntime` its ONNX file, `served` what a feed's server runs by default:
the fastest arithmetic that suits the model; `torch` is its int8 form without an engine, the others are alternatives.
Owns the table. Does not know how engines are chosen or why one is refused (compressors/engines/fastest.py).
`python -m benchmarks.engines flights --rows 1 8 64 512`; the models are untrained, which does not change the time.
"""

import argparse
import copy
import json
import time
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from compressors.artifact.parity import Parity
from compressors.engines.arithmetic import arranged, signed_is_exact, watch, ways
from compressors.engines.engine import ENGINES, Engine, Session
from compressors.engines.fastest import Fastest, fastest
from compressors.engines.onnx import trace
from compressors.engines.template import export, session
from examples.compress import images, models
from tests.serving import served

MODELS: dict[str, tuple[Callable[[], nn.Module], Callable[[], models.Data]]] = {
    "flights": (models.flights_net, lambda: models.flights(RANGES)),
    "digits": (images.CNN, lambda: models.Data(images.digits().inputs, images.digits().labels)),
    "mails": (models.minilm, models.mails),
}
SAMPLES = 512
RANGES = 4_096  # rows for the ranges of the arithmetic `mixed`


def main() -> None:
    """Measure one model; print a table for people, then one JSON line for programs."""
    arguments = _arguments()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    make, data = MODELS[arguments.model]
    plain, seen = make().eval().requires_grad_(False), tuple(t[:RANGES] for t in data().inputs)
    inputs = tuple(t[: arguments.samples] for t in seen)
    ours = (
        Engine(
            name="plain onnxruntime",
            prepare=lambda _, rows: Session(trace(Plain(plain).eval(), rows).SerializeToString()),
        ),
        Engine(name="served", prepare=lambda model, _: arranged_session(model, seen)),
    )
    engines = [one for one in (*ours, *ENGINES) if not arguments.engines or one.name in arguments.engines]
    times = measured(plain, inputs, arguments.rows, engines, arguments.seconds)
    print(table(times, arguments.rows))
    for name, why in times.refused.items():
        print(f"not measured: {name}: {why}")
    line = {"benchmark": "engines", "model": arguments.model, "chosen": times.chosen, "refused": times.refused}
    print(json.dumps(line | {"us": [one._asdict() for one in times.timings]}))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.engines", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument("model", choices=MODELS)
    parser.add_argument("--rows", type=int, nargs="+", default=[1, 8, 64, 512])
    parser.add_argument("--seconds", type=float, default=0.3)
    parser.add_argument("--samples", type=int, default=SAMPLES)
    parser.add_argument("--engines", nargs="*", default=[])
    return parser.parse_args()


def measured(
    plain: nn.Module, inputs: Sequence[Tensor], rows: Sequence[int], engines: Sequence[Engine], seconds: float
) -> Fastest:
    """Measure the engines on the net's serving form, and the plain net beside them, whatever they answer."""
    baseline = Engine(name="plain float32", prepare=lambda model, inputs: plain)
    ours = served(copy.deepcopy(plain))
    clock = time.thread_time  # so that other processes hardly matter; there is one thread
    return fastest(ours, inputs, rows, engines=[baseline, *engines], seconds=seconds, allowed=any_answer, clock=clock)


class Plain(nn.Module):
    """A net as the exporter takes it: all inputs in one argument."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, *inputs: Tensor) -> Tensor:
        """Return the net's outputs (N, K)."""
        out: Tensor = self.net(*inputs)
        return out


def arranged_session(model: nn.Module, rows: Sequence[Tensor]) -> Session:
    """Return what serves a model by default; the answers of an untrained one need no proof."""
    arithmetic = ways(watch(model, [t[:64] for t in rows]))[0]
    ranges = watch(model, rows).ranges if arithmetic == "mixed" else {}
    made = arranged(model, arithmetic, ranges, signed=signed_is_exact())
    return session(export(made, [t[:2] for t in rows], arithmetic, signed=signed_is_exact()), made)


def any_answer(parity: Parity) -> str | None:
    """Refuse nothing: a benchmark measures every engine."""
    return None


def table(times: Fastest, rows: Sequence[int]) -> str:
    """Return a line for each engine: microseconds a batch, and its speed as a multiple of plain float32's."""
    us = {(one.engine, one.rows): one.us for one in times.timings}
    names = list(dict.fromkeys(one.engine for one in times.timings))
    lines = ["".join(["engine".ljust(20), *(f"{n:>18}" for n in sorted(rows))])]
    for name in names:
        cells = (_cell(us.get((name, n)), us["plain float32", n]) for n in sorted(rows))
        lines.append(name.ljust(20) + "".join(cells))
    return "\n".join(lines)


def _cell(us: float | None, plain_us: float) -> str:
    return f"{'-':>18}" if us is None else f"{us:>11,.0f} {plain_us / us:>5.2f}x"


if __name__ == "__main__":
    main()
