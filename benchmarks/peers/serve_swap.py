"""What swaps cost Ray Serve: `reconfigure` of a replica, and one that is replaced; the models are `benchmarks.swap`'s.

`python -m benchmarks.peers.serve_swap [--swaps N] [--a-second N]`, with Shadowstream and `ray[serve]` installed. One
replica answers by the same engine, and loads a version just as our server does. Requests come at a steady pace, each a
call of its own by a handle in one process, and are timed from when they came to when the answer was there. Turns
without a swap alternate with others. Each call takes Serve its milliseconds, whatever the model: what swaps add is what
can be compared. Owns the table.
"""

import argparse
import asyncio
import json
import os
import tempfile
import time
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import ray
import torch
from ray import serve
from rich.console import Console
from rich.table import Table

from benchmarks.swap import ENTRIES, Item, pipeline_of
from compressors.rows import Collated
from deploy.engine import load
from deploy.learning.bootstrap import bootstrap
from deploy.registry.kinds import CHAMPIONS
from deploy.registry.registry import Registry

NONE, RECONFIGURED, REPLACED = "no swap", "reconfigure", "replica replaced"  # one that is alone is stopped first
TURN_S, EACH = {NONE: 3.0, RECONFIGURED: 3.0, REPLACED: 20.0}, {NONE: 0, RECONFIGURED: 5, REPLACED: 1}
MOST_REPLACED = 5  # each replacement starts a process


class Replica:
    """A replica that answers by the version that its configuration names."""

    def __init__(self, folders: list[str], entries: int) -> None:
        torch.set_num_threads(1)
        self._registries = [Registry(Path(folder)) for folder in folders]
        self._pipeline, self._version = pipeline_of(entries), -1

    def reconfigure(self, config: dict[str, int]) -> None:
        """Load a version, and answer by it from now on."""
        self._version = config["version"]
        registry = self._registries[self._version % len(self._registries)]
        champion = registry.record(CHAMPIONS, 0)
        assert champion is not None
        self._running = load(registry, champion.artifact, champion.engine, self._pipeline.model)

    async def __call__(self, item: int, price: float) -> tuple[int, float]:
        """Return the version, and its answer."""
        rows = Collated([Item(item, price)], self._pipeline.encoder().encode)
        return self._version, float(self._running(*rows.batch())[0, 0])


class Load:
    """Requests at a pace, and versions that take over."""

    def __init__(self, folders: list[str], entries: int, a_second: int) -> None:
        self._of, self._a_second, self._version, self._code = (folders, entries), a_second, 0, 0
        self.asked, self.failed, self.versions = 0, 0, set[int]()
        self._handle = self._run()

    def _run(self) -> Any:
        made = serve.deployment(num_replicas=1, max_ongoing_requests=1_000, ray_actor_options={"num_cpus": 0})(Replica)
        deployed = made.options(user_config={"version": self._version})
        deployed._version = str(self._code)  # `serve.run` would replace the replica; `serve deploy` keeps it, like this
        return serve.run(deployed.bind(*self._of), name="swap", route_prefix=None)

    async def turn(self, how: str, swaps: int) -> list[float]:
        """Ask for a while, with so many swaps; return how long each request took, in seconds."""
        draw, took_s, asking = np.random.default_rng(self.asked), list[float](), list[asyncio.Task[None]]()
        began_s, total = time.perf_counter(), int(TURN_S[how] * self._a_second)
        due, swapping = [int(n * total / max(1, swaps)) for n in range(swaps)], asyncio.create_task(asyncio.sleep(0))

        async def ask(at_s: float) -> None:
            try:
                version, _ = await self._handle.remote(int(draw.integers(0, 100)), round(float(draw.normal()), 3))
            except Exception:  # noqa: BLE001 whatever Serve raises, the request has no answer
                self.failed += 1
                return
            took_s.append(time.perf_counter() - at_s)
            self.versions.add(version)

        for n in range(total):
            at_s = began_s + n / self._a_second
            await asyncio.sleep(max(0.0, at_s - time.perf_counter()))
            if due and n >= due[0] and swapping.done():
                due.pop(0)
                self._version, self._code = self._version + 1, self._code + (how == REPLACED)
                swapping = asyncio.create_task(asyncio.to_thread(self._run))
            asking.append(asyncio.create_task(ask(at_s)))
        await asyncio.gather(*asking, swapping)
        self.asked += total
        return took_s


async def measured(entries: int, swaps: int, a_second: int) -> dict[str, Any]:
    """Return what turns of each kind took, in milliseconds, and what became of the requests."""
    with tempfile.TemporaryDirectory() as folder:
        folders = [str(Path(folder) / name) for name in ("one", "other")]
        for seed, one in enumerate(folders):
            bootstrap(replace(pipeline_of(entries), seed=seed), Registry(Path(one)), engines=True)
        load_of = await asyncio.to_thread(Load, folders, entries, a_second)
        await load_of.turn(NONE, 0)
        took: dict[str, list[float]] = {how: [] for how in TURN_S}
        left = {NONE: 0, RECONFIGURED: swaps, REPLACED: min(swaps, MOST_REPLACED)}
        while any(left.values()):
            for how in took:
                n = min(EACH[how], left[how])
                if n or how == NONE:
                    took[how] += await load_of.turn(how, n)
                left[how] -= n
        await asyncio.to_thread(serve.delete, "swap")
    shares = {"p50": 0.5, "p99": 0.99, "most": 1.0}
    return {
        "entries": entries,
        "requests": load_of.asked,
        "failed": load_of.failed,
        "versions": len(load_of.versions) - 1,
        "ms": {
            how: {name: 1_000 * float(np.quantile(of, share)) for name, share in shares.items()}
            for how, of in took.items()
            if of
        },
    }


def main() -> None:
    """Measure; print a table for people, then one JSON line for programs."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.peers.serve_swap")
    parser.add_argument("--swaps", type=int, default=50)
    parser.add_argument("--a-second", type=int, default=100)
    asked = parser.parse_args()
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
    found = [asyncio.run(measured(entries, asked.swaps, asked.a_second)) for entries in (100, ENTRIES)]
    table = Table("entries", "versions", "requests", "failed", "p50, ms", "p99, ms", "longest, ms")
    for one in found:
        for how, of in one["ms"].items():
            counts = (f"{one[name]:,}" for name in ("requests", "failed"))
            table.add_row(f"{one['entries']:,}", how, *counts, *(f"{ms:.1f}" for ms in of.values()))
    Console().print(table)
    print(json.dumps({"benchmark": "serve_swap", "load": os.getloadavg()[0], "models": found}))
    ray.shutdown()


if __name__ == "__main__":
    import_module("benchmarks.peers.serve_swap").main()  # what is of __main__ is sent to replicas by value
