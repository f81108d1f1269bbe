"""What live experts cost: samples a second learned, and µs for an answer, on flights of January, on one thread.

Owns the table. `python -m benchmarks.live_speed`. The aim: both tables learn more than 86,000 samples a second (Vowpal
Wabbit with crosses), and add less than 95 µs to an answer of 64 rows, their reading included. Time is the thread's own.
"""

import json
import time
from collections.abc import Callable, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from deploy.pipeline import load
from learners.live.features.reader import Reader
from learners.live.make import chain, linear
from learners.live.settings import Wide

FLIGHTS = Path(__file__).parents[1] / "examples" / "flights" / "pipeline.py"
ROWS, BATCH, ROUNDS, MARKS = 20_000, 64, 3, 17


def main() -> None:
    """Measure; print a table for people, then one JSON line for programs."""
    pipeline, wide = load(FLIGHTS), Wide()
    past = list(islice(pipeline.history(), ROWS)) if pipeline.history else []
    rows, labels = [one.features for one in past], np.array([one.label for one in past])
    reader, draw = Reader(wide.fields(pipeline.features)), np.random.default_rng(0)
    experts = {"nag": linear(wide, reader, ["nag"]), "w4": linear(wide, reader, ["w4"]), "both": linear(wide, reader)}
    waiting, marks = chain(wide, reader, MARKS), draw.integers(0, MARKS, ROWS)
    came = np.where(draw.random(ROWS) < 1 / MARKS, labels, np.nan)
    learns: dict[str, Callable[[slice], Any]] = {
        name: lambda part, one=one: one.learn(rows[part], labels[part], np.ones(len(labels[part])))
        for name, one in experts.items()
    }
    t_ms = np.arange(ROWS, dtype=np.int64) * 60_000
    learns["chain, a mark"] = lambda part: waiting.waited(
        rows[part], marks[part], came[part], np.ones(len(came[part])), t_ms[part]
    )
    answers: dict[str, Callable[[Sequence[Any]], Any]] = {name: one.answer for name, one in experts.items()}
    answers["chain, a mark"] = waiting.answer
    table, found = Table("tables", "learned a second", *(f"µs for {n} rows" for n in SIZES)), {}
    for name, learn in learns.items():
        a_second = 1e6 / _us(learn, [slice(at, at + BATCH) for at in range(0, ROWS, BATCH)]) * BATCH
        us = [_us(answers[name], [rows[at : at + n] for at in range(0, ROWS - n, max(n, ROWS // 300))]) for n in SIZES]
        found[name] = {"learned_a_second": a_second} | {f"us_{n}": one for n, one in zip(SIZES, us, strict=True)}
        table.add_row(name, f"{a_second:,.0f}", *(f"{one:,.0f}" for one in us))
    Console().print(table)
    print(json.dumps({"benchmark": "live_speed", **found}))


SIZES = (1, 8, 64, 512)


def _us(call: Callable[[Any], Any], arguments: Sequence[Any]) -> float:
    """Return the thread's time of a call, the best of the rounds over all arguments; the first only compiles."""
    call(arguments[0])
    rounds = []
    for _ in range(ROUNDS):
        began = time.thread_time()
        for one in arguments:
            call(one)
        rounds.append(time.thread_time() - began)
    return 1e6 * min(rounds) / len(arguments)


if __name__ == "__main__":
    main()
