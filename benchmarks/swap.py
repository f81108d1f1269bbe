"""What 50 swaps of the version cost a server under load: requests dropped or answered twice, and latency added.

`python -m benchmarks.swap [--swaps N] [--a-second N]`. Requests come at a steady pace, whether or not the server is
ready, and each is timed from when it came to when its prediction was flushed. In alternating turns of the same length
nothing happens, or versions take over: loaded beside serving, as the product does, or by the thread that serves (in
place). A small model, and one whose artifact has 13 MB. Left out are broker and store. What swaps cost Ray Serve is
measured by `benchmarks.peers.serve_swap`. The aim: none dropped or answered twice, and at most 10 ms added to the 99 %
latency. Owns the table.
"""

import argparse
import json
import os
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn

from benchmarks.serving import TP, World, alone
from compressors.recipe import Distill, Quantize, Recipe
from deploy.learning.bootstrap import bootstrap
from deploy.pipeline import Labelled, Pipeline
from deploy.registry.kinds import CHAMPIONS
from deploy.registry.records import Champion
from deploy.registry.registry import Registry
from deploy.serving.champion import Served
from deploy.serving.server import Answers, ServerRole
from learners.live.settings import Intercept
from streams.dead.limit import DeadLetters
from streams.events import Prediction, Record
from streams.kafka import Polled

ROWS, EACH, TURN_S, LATE_S = 400, 5, 1.5, 1e-3  # swaps in a turn, its length, and how long a wait for requests is
ENTRIES, WIDTH = 100_000, 32  # floats
BESIDE, IN_PLACE, NONE = "loaded beside serving", "loaded in place", "no swap"


class Item(msgspec.Struct):
    """An item that may be clicked."""

    item: int
    price: float


def encode(items: Sequence[Item]) -> tuple[Tensor, ...]:
    """Return items (N,) and prices (N, 1)."""
    return torch.tensor([one.item for one in items]), torch.tensor([[one.price] for one in items])


class Clicks(nn.Module):
    """An embedding of each item, and its price."""

    def __init__(self, entries: int) -> None:
        super().__init__()
        self.items = nn.Embedding(entries, WIDTH)
        self.first, self.last = nn.Linear(WIDTH + 1, 32), nn.Linear(32, 1)

    def forward(self, items: Tensor, prices: Tensor) -> Tensor:
        """Return logits (N, 1)."""
        hidden = self.first(torch.cat([self.items(items), prices], 1)).relu()
        logits: Tensor = self.last(hidden)
        return logits


def items() -> Iterator[Labelled]:
    """Yield a short history."""
    draw = np.random.default_rng(0)
    for _ in range(ROWS):
        yield Labelled(Item(int(draw.integers(0, 100)), round(float(draw.normal()), 3)), float(draw.random() < 0.3))


def pipeline_of(entries: int) -> Pipeline:
    """Return a pipeline of so many items; its artifact has 128 bytes of each."""
    return Pipeline(
        name="swap", model=lambda: Clicks(entries), features=Item, encode=encode, history=items,
        recipe=Recipe(Quantize("int8", layers=("linear",)), Distill()), live=Intercept(),
    )  # fmt: skip


class Arriving(World):
    """Requests that come at a pace; keeps how long each took, and how often it was answered."""

    def __init__(self, a_second: int) -> None:
        super().__init__()
        self._a_second, self._came, self._at = a_second, list[float](), 0
        self._draw = np.random.default_rng(1)
        self._waits, self.answered = list[int](), Counter[int]()
        self.took_s, self.versions = list[float](), list[int]()
        self._began_s = self._since_s = 0.0

    def begin(self) -> None:
        """Begin a turn: what comes is timed anew."""
        self._began_s, self.took_s = time.perf_counter(), []
        self._first = self._at

    def poll(self, block_ms: int, most: int) -> list[Polled]:
        """Return the requests that have come, at most so many."""
        due = self._first + int((time.perf_counter() - self._began_s) * self._a_second)
        start, end = self._at, min(due, self._at + most)
        if start == end:
            time.sleep(LATE_S)
            return []
        self._at = end
        return [Polled(TP, start, end, [self._record(n) for n in range(start, end)], [])]

    def send(self, tp: Any, *, key: bytes, value: bytes, t_ms: int) -> None:
        """Take a prediction."""
        self._waits.append(int(key))
        self._last = value

    def flush(self) -> dict[Any, int]:
        """Have all predictions written, and time them."""
        now_s = time.perf_counter()
        self.took_s += [now_s - self._began_s - (n - self._first) / self._a_second for n in self._waits]
        self.answered.update(self._waits)
        if self._waits:
            self.versions.append(msgspec.json.decode(self._last, type=Prediction).version)
        self._waits.clear()
        return {}

    @property
    def asked(self) -> int:
        """How many requests have come."""
        return self._at

    def _record(self, n: int) -> Record:
        body = b'{"item":%d,"price":%.3f}' % (self._draw.integers(0, 100), self._draw.normal())
        return Record(TP.topic, 0, n, n, 0, b"%d" % n, body)


class Swaps:
    """A server of two versions that take turns."""

    def __init__(self, folder: Path, pipeline: Pipeline, a_second: int) -> None:
        self._registry = Registry(folder / "one")
        bootstrap(pipeline, self._registry, engines=True)
        other = Registry(folder / "other")
        bootstrap(replace(pipeline, seed=1), other, engines=True)
        for blob in (other.folder / "blobs").iterdir():
            self._registry.put(blob.read_bytes())
        self._made = [_champion(self._registry), _champion(other)]
        self.bytes = len(self._registry.get(self._made[0].artifact))
        self.served = Served(self._registry, pipeline.model)
        self.world: Any = Arriving(a_second)
        dead, answers = DeadLetters(self.world, "swap.dead"), Answers("swap.predictions", 1, self.world)
        self._role = ServerRole(pipeline, self.served, alone(self.world), answers, dead, self.world, 512)

    def turn(self, how: str, swaps: int) -> list[float]:
        """Serve for a while, with so many swaps; return how long each request took, in seconds."""
        self.world.begin()
        end_s = time.perf_counter() + TURN_S
        due = iter([end_s - TURN_S * (1 - n / EACH) for n in range(swaps)])
        next_s = next(due, float("inf"))
        while (now_s := time.perf_counter()) < end_s or self._behind or next_s < float("inf"):
            if now_s >= next_s and not self._behind:
                self._create()
                next_s = next(due, float("inf"))
            self._role.step(0)
            if how == IN_PLACE and self._behind:
                self.served._thread.submit(int).result()  # the thread that serves waits until it is loaded
        took_s: list[float] = self.world.took_s
        return took_s

    @property
    def _behind(self) -> bool:
        return self.served.record.number < self._registry.last(CHAMPIONS)

    def _create(self) -> None:
        number = self._registry.last(CHAMPIONS) + 1
        made = msgspec.structs.replace(self._made[number % 2], number=number)
        assert self._registry.create(CHAMPIONS, number, made)


def _champion(registry: Registry) -> Champion:
    record = registry.record(CHAMPIONS, 0)
    assert record is not None
    return record


def measured(entries: int, swaps: int, a_second: int) -> dict[str, Any]:
    """Return what turns of each kind took, in milliseconds, and what became of the requests."""
    pipeline = pipeline_of(entries)
    with tempfile.TemporaryDirectory() as folder:
        server = Swaps(Path(folder), pipeline, a_second)
        server.turn(NONE, 0)  # which warms up
        took: dict[str, list[float]] = {NONE: [], BESIDE: [], IN_PLACE: []}
        left = dict.fromkeys((BESIDE, IN_PLACE), swaps)
        while any(left.values()):
            for how in took:
                n = min(EACH, left.get(how, 0))
                took[how] += server.turn(how, n)
                if how in left:
                    left[how] -= n
    answered, versions = server.world.answered, server.world.versions
    return {
        "artifact_bytes": server.bytes,
        "requests": server.world.asked,
        "dropped": server.world.asked - len(answered),
        "twice": sum(n > 1 for n in answered.values()),
        "versions": len(set(versions)) - 1,
        "in_order": versions == sorted(versions),
        "ms": {how: _quantiles(of) for how, of in took.items()},
    }


def _quantiles(took_s: list[float]) -> dict[str, float]:
    shares = {"p50": 0.5, "p99": 0.99, "most": 1.0}
    return {name: 1_000 * float(np.quantile(took_s, share)) for name, share in shares.items()}


def main() -> None:
    """Measure; print a table for people, then one JSON line for programs."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.swap")
    parser.add_argument("--swaps", type=int, default=50)
    parser.add_argument("--a-second", type=int, default=1_000)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    found = {entries: measured(entries, asked.swaps, asked.a_second) for entries in (100, ENTRIES)}
    table = Table("artifact, MB", "versions", "requests", "dropped", "twice", "p50, ms", "p99, ms", "longest, ms")
    for one in found.values():
        for how, of in one["ms"].items():
            counts = (f"{one[name]:,}" for name in ("requests", "dropped", "twice"))
            table.add_row(f"{one['artifact_bytes'] / 1e6:.1f}", how, *counts, *(f"{ms:.1f}" for ms in of.values()))
    Console().print(table)
    print(json.dumps({"benchmark": "swap", "load": os.getloadavg()[0], "models": list(found.values())}))


if __name__ == "__main__":
    main()
