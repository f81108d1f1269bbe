"""What learning a sample costs beside a bare torch loop of the same two networks, on flights of January, on one thread.

Owns the table. `python -m benchmarks.learning`. The aim: the learner, live experts apart, has at least 0.8 of the speed
of the loop. It reads samples as the join emits them; the loop gets tensors, and has nothing but forward, backward and
`torch.optim.AdamW`: no clipping, average, intercept, or check of what it learned. Time is the thread's own.
"""

import copy
import json
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from msgspec import Raw
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn

from deploy.learning.candidates import make_learner
from deploy.pipeline import Pipeline, load
from learners.online.batches import Inputs
from learners.online.learner import Learner
from learners.tasks.task import Task
from shadowstream import Intercept
from streams.events import Prediction, Sample, encode
from streams.readers import read_sample

FLIGHTS = Path(__file__).parents[1] / "examples" / "flights" / "pipeline.py"
ROWS, SIZES, ROUNDS, HOUR_MS = 12_800, (32, 128), 9, 3_600_000


def main() -> None:
    """Measure; print a table for people, then one JSON line for programs."""
    torch.set_num_threads(1)
    flights = replace(load(FLIGHTS), live=Intercept())
    table = Table("rows a batch", "bare loop", "learner", "bare / learner", "learner in parts of a third")
    found = {}
    for size in SIZES:
        found[size] = one = _measure(replace(flights, online=replace(flights.online, batch=size)), size)
        us = [f"{one[name]:,.0f} µs" for name in ("bare", "learner")]
        table.add_row(str(size), *us, f"{one['ratio']:.2f}", f"{one['ratio_in_parts']:.2f}")
    Console().print(table)
    print(json.dumps({"benchmark": "learning", "us_a_batch": found}))


def _measure(pipeline: Pipeline, size: int) -> dict[str, float]:
    """Return µs a batch, and the median of the rounds' ratios."""
    entries = entries_of(pipeline)
    whole, parted = make_learner(pipeline), make_learner(pipeline)
    batches = list(_tensors(pipeline, entries, size))
    bare = _bare(whole, pipeline.task, batches)
    took: dict[str, list[float]] = {"bare": [], "learner": [], "parts": []}
    runs: dict[str, Callable[[], None]] = {
        "bare": bare,
        "learner": lambda: _learn(whole, entries, size),
        "parts": lambda: _learn(parted, entries, size // 3),
    }
    for _ in range(1 + ROUNDS):
        for name, run in runs.items():  # in turn, so that a slow moment affects all alike
            began = time.thread_time()
            run()
            took[name].append(1e6 * (time.thread_time() - began) / len(batches))
    for times in took.values():
        del times[0]  # the first only warms up

    def ratio(name: str) -> float:
        return statistics.median(bare / ours for bare, ours in zip(took["bare"], took[name], strict=True))

    us = {name: statistics.median(times) for name, times in took.items()}
    return us | {"ratio": ratio("learner"), "ratio_in_parts": ratio("parts")}


def entries_of(pipeline: Pipeline) -> list[bytes]:
    """Return samples of the history, as the join emits them: an hour between a request and its outcome."""
    past = islice(pipeline.history(), ROWS) if pipeline.history else ()
    made = []
    for n, row in enumerate(past):
        t_ms = n * 1_000
        prediction = Prediction(str(n), t_ms, 0, (-1.0,), (0.1,), n, Raw(encode(row.features)))
        label = pipeline.task.target(row.label)
        made.append(encode(Sample(str(n), "joined", 0, t_ms, label, t_ms + HOUR_MS, prediction)))
    return made


def _tensors(pipeline: Pipeline, entries: Sequence[bytes], size: int) -> Any:
    encoder = pipeline.encoder()
    for at in range(0, len(entries), size):
        samples = [read_sample(one) for one in entries[at : at + size]]
        yield encoder.inputs(samples), torch.tensor([one.label for one in samples])


def _bare(learner: Learner, task: Task, batches: Sequence[tuple[Inputs, Tensor]]) -> Callable[[], None]:
    models = [copy.deepcopy(network.model).train() for network in (learner.teacher, learner.shadow)]
    steps = [_step(model, task, learner) for model in models]

    def run() -> None:
        for inputs, target in batches:
            for step in steps:
                step(inputs, target)

    return run


def _step(model: nn.Module, task: Task, learner: Learner) -> Callable[[Inputs, Tensor], None]:
    optimizer = torch.optim.AdamW(model.parameters(), fused=True)

    def step(inputs: Inputs, target: Tensor) -> None:
        optimizer.zero_grad(set_to_none=True)
        task.losses(model(*inputs), target).mean().backward()  # type: ignore[no-untyped-call]
        optimizer.step()

    return step


def _learn(learner: Learner, entries: Sequence[bytes], size: int) -> None:
    for at in range(0, len(entries), size):
        learner.learn(read_sample.each(entries[at : at + size]))


if __name__ == "__main__":
    main()
