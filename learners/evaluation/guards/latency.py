"""How long a model takes beside another, by what serves them.

Owns the clock. Does not know what a model is.
"""

import time
from collections.abc import Sequence

from msgspec.structs import replace
from torch import Tensor

from compressors.answers import Run, evaluating
from learners.evaluation.guards.guard import at_most
from learners.evaluation.verdict import Guard

LITTLE_S = 1e-3  # what a call may take, whatever the other one takes
ROWS, TURNS = 64, 15  # rows of a call; calls of each, of which the shortest counts: others share the machine


def latency(
    ours: Run, theirs: Run, inputs: Sequence[Tensor], limit: float | None, earlier: Sequence[Tensor] | None = None
) -> Guard:
    """Return how many times as long one model takes as the other for the same inputs; both are warmed up.

    `earlier` is these inputs for `theirs`, where that is of an earlier pipeline.
    """
    best = [float("inf")] * 2
    with evaluating(ours, theirs):
        for _ in range(TURNS + 1):
            for n, (model, given) in enumerate(((ours, inputs), (theirs, inputs if earlier is None else earlier))):
                began_s = time.perf_counter()
                model(*given)
                best[n] = min(best[n], time.perf_counter() - began_s)
    times = best[0] / max(best[1], 1e-9)
    said = f"takes {1e6 * best[0]:.0f} µs for {len(inputs[0])} rows, {times:.2f} times as long as the champion"
    found = at_most("latency", times, limit, said)
    return replace(found, passed=found.passed or best[0] < LITTLE_S)
