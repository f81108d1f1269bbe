"""What live experts add to a server's work: the whole path from requests' records to predictions' bytes, on flights.

`python -m benchmarks.serving`. One server has `Live()`, the other `Intercept()`; both run the same version by the same
engine, in alternating turns on the same requests. Left out is only what both do alike outside of the process: the
broker and the store. Time is the process's own on one thread, the median of the turns, and the ratio the median of the
turns' ratios. The aim: at most 1.5 at 64 rows. Owns the table. Does not know what takes the time.
"""

import json
import statistics
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import msgspec
import torch
from rich.console import Console
from rich.table import Table

from deploy.learning.blocks import Blocks
from deploy.learning.bootstrap import bootstrap, study
from deploy.learning.candidates import make_learner
from deploy.pipeline import Labelled, Pipeline, load
from deploy.registry.registry import Registry
from deploy.serving.champion import Served
from deploy.serving.server import Answers, ServerRole
from deploy.serving.share import Order, Requests, Share
from learners.live.held import Asked, Census, Told
from learners.live.settings import Intercept
from learners.online.learner import Learner
from streams.dead.limit import DeadLetters
from streams.events import Record
from streams.kafka import Polled, Tp

FLIGHTS = Path(__file__).parents[1] / "examples" / "flights" / "pipeline.py"
SIZES, TURNS, TRAINED, ROWS, HOUR_MS = (1, 8, 64, 512), 31, 4_000, 16_384, 3_600_000
TP = Tp("flights.requests", 0)


class World:
    """What a server talks to, in memory: the source, the sink and the store of one feed."""

    def __init__(self) -> None:
        self.next: list[Polled] = []
        self.sent: list[bytes] = []
        self._notes: dict[str, bytes] = {}

    def poll(self, block_ms: int, most: int) -> list[Polled]:
        """Return the requests that have come."""
        return self.next

    def send(self, tp: Tp, *, key: bytes, value: bytes, t_ms: int) -> None:
        """Keep the prediction."""
        self.sent.append(value)

    def flush(self) -> dict[Tp, int]:
        """Say that all is written."""
        return {}

    def assign(self, tps: Any) -> None:
        """Read the only partition."""

    def committed(self, tps: Any) -> dict[Tp, int]:
        """Return where the only partition begins."""
        return {TP: 0}

    def commit(self, ends: Any) -> None:
        """Forget the positions."""

    def limit_bytes(self, topic: str) -> int:
        """Return what a record may hold."""
        return 1 << 20

    def get(self, feed: str, *names: str) -> list[bytes | None]:
        """Return notes of the board."""
        return [self._notes.get(name) for name in names]

    def put(self, feed: str, notes: dict[str, bytes]) -> None:
        """Keep notes of the board."""
        self._notes |= notes

    def drop(self, feed: str, names: Sequence[str]) -> None:
        """Drop notes of the board."""
        for name in names:
            self._notes.pop(name, None)


def main() -> None:
    """Measure; print a table for people, then one JSON line for programs."""
    torch.set_num_threads(1)
    pipeline = load(FLIGHTS)
    past = list(islice(pipeline.history(), ROWS)) if pipeline.history else []
    pipeline = replace(pipeline, history=lambda: past[:TRAINED])
    with tempfile.TemporaryDirectory() as folder:
        registry = Registry(Path(folder))
        bootstrap(pipeline, registry, engines=True)
        learner = make_learner(pipeline)
        teach(learner, replace(pipeline, history=lambda: past), past)
        servers = {
            "live": server(pipeline, registry, learner),
            "intercept": server(replace(pipeline, live=Intercept()), registry, learner),
        }
        bodies = [msgspec.json.encode(row.features) for row in past]
        records = [Record(TP.topic, 0, n, n, 0, b"id-%d" % n, body) for n, body in enumerate(bodies)]
        show({size: measured(servers, batches(records, size)) for size in SIZES})


def teach(learner: Learner, pipeline: Pipeline, past: Sequence[Labelled]) -> None:
    """Let the live experts learn all rows, and that outcomes come after an hour."""
    study(pipeline, learner)
    live = learner.live
    assert live is not None
    said = (0.0,) * len(live.names)
    live.learn([Census(1, 0, 24 * HOUR_MS)])
    for n, row in enumerate(past[:2_000]):
        t_ms = 1 + n * HOUR_MS // 4
        live.learn([Told(Asked(str(n), t_ms, row.features, said), t_ms + HOUR_MS, float(row.label))])  # type: ignore[arg-type]
        live.learn([Census(t_ms + HOUR_MS, n, 24 * HOUR_MS)])
    print(live.line)


def server(pipeline: Pipeline, registry: Registry, learner: Learner) -> tuple[ServerRole, World]:
    """Return a server that has heard of the learner's commit, and its world."""
    world: Any = World()
    dead = DeadLetters(world, "flights.dead")
    Blocks(world, pipeline.name, learner)
    made = ServerRole(
        pipeline,
        Served(registry, pipeline.model),
        alone(world),
        Answers("flights.predictions", 1, world),
        dead,
        world,
        512,
    )
    return made, world


def alone(world: Any) -> Requests:
    """Return the only partition, as the only server has it."""
    return Requests(TP.topic, world, world, Share(Order(0, frozenset({0}))))


def batches(records: list[Record], size: int) -> list[list[Polled]]:
    """Return the records as polls of so many."""
    return [[Polled(TP, at, at + size, records[at : at + size], [])] for at in range(0, len(records), size)]


def measured(servers: dict[str, tuple[ServerRole, World]], polled: Sequence[list[Polled]]) -> dict[str, float]:
    """Return µs a batch of each server, and the ratio."""
    us: dict[str, list[float]] = {name: [] for name in servers}
    each = min(max(len(polled) // TURNS, 8), 256)  # batches in a turn
    for turn in range(TURNS + 1):  # the first only warms up
        at = turn * each % (len(polled) - each + 1)
        for name, (role, world) in servers.items():
            world.sent.clear()
            began = time.process_time()
            for one in polled[at : at + each]:
                world.next = one
                role.step(0)
            us[name].append(1e6 * (time.process_time() - began) / each)
    ratios = [a / b for a, b in zip(us["live"][1:], us["intercept"][1:], strict=True)]
    return {name: statistics.median(of[1:]) for name, of in us.items()} | {"ratio": statistics.median(ratios)}


def show(found: dict[int, dict[str, float]]) -> None:
    """Print the table, and the line."""
    table = Table("rows", "Live(), µs", "Intercept(), µs", "ratio")
    for size, of in found.items():
        table.add_row(str(size), f"{of['live']:,.0f}", f"{of['intercept']:,.0f}", f"{of['ratio']:.2f}")
    Console().print(table)
    print(json.dumps({"benchmark": "serving", **found}))


if __name__ == "__main__":
    main()
