"""How long each engine takes for the examples' models on one thread, compared with the same net in plain float32.

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
from compressors.engines.engine import ENGINES, Engine
from compressors.engines.fastest import Fastest, fastest
from examples.compress import images, models
from tests.serving import served

MODELS: dict[str, tuple[Callable[[], nn.Module], Callable[[], models.Data]]] = {
    "flights": (models.flights_net, lambda: models.flights(512)),
    "digits": (images.CNN, lambda: models.Data(images.digits().inputs, images.digits().labels)),
    "mails": (models.minilm, models.mails),
}
SAMPLES = 512


def main() -> None:
    """Measure one model; print a table for people, then one JSON line for programs."""
    arguments = _arguments()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    make, data = MODELS[arguments.model]
    plain, inputs = make().eval().requires_grad_(False), tuple(t[: arguments.samples] for t in data().inputs)
    engines = [one for one in ENGINES if not arguments.engines or one.name in arguments.engines]
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
