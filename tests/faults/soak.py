"""A join under a steady load whose reader has stopped: `make soak MINUTES=60`.

Memory must stay flat once `stream_bound` samples wait, while the broker's log takes the rest; then the reader starts,
and everything published must come, once. The broker is shown, not judged: the embedded one keeps its log in memory, and
Apache Kafka (with `SHADOWSTREAM_TEST_KAFKA_CMD`) fills the heap that it was given. The last line is one JSON object.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import psutil
from redis import Redis
from rich.console import Console

from deploy.cli.signals import orderly
from deploy.embedded.servers import Service, start_broker, start_store
from streams.audit.equations import audit
from streams.errors import StoreRefused
from streams.join.step import ShardState
from streams.join.store import Store
from streams.outputs.samples import Samples
from tests.faults.loop import soak_loop
from tests.faults.parts.memory import FLAT_MB, Memory
from tests.faults.parts.steady import Steady, has_outcome, label_of

SHARDS = PARTITIONS = JOINERS = 2
HANG_S = 300.0
FEED = """
from shadowstream import Feed, fields

prediction = fields(id="id", t="t", t_unit="ms")
feed = Feed(name="soak", prediction=prediction, outcome=fields(id="id", t="t", t_unit="ms", label="label"))
"""


class Soak:
    """A context manager: the servers, the join as a user runs it, and the load."""

    def __init__(self, folder: Path, rate: float, bound: int, kafka: str | None, redis: str | None) -> None:
        self._folder, self._rate, self._bound = folder, rate, bound
        self._kafka, self._redis_command = kafka, redis
        self._stack = ExitStack()

    def __enter__(self) -> "Soak":
        with ExitStack() as stack:
            self._broker = stack.enter_context(start_broker(self._folder, self._kafka))
            self._store_service = stack.enter_context(start_store(self._folder, self._redis_command))
            self.store = stack.enter_context(closing(Store(self._store_service.address)))
            self._redis = stack.enter_context(closing(Redis.from_url(self._store_service.address)))
            self.join = self._start()
            stack.callback(self._end)
            self._wait_for_shards()
            self.load = Steady(self._broker.address, ("soak.predictions", "soak.outcomes"), PARTITIONS, self._rate)
            stack.callback(self.load.leave)
            self._stack = stack.pop_all()
        self.memory = Memory(self._processes, unjudged=("broker",))
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def shards(self) -> list[ShardState]:
        """Return every shard's state."""
        return [self.store.shard("soak", shard) for shard in range(SHARDS)]

    def look(self) -> bool:
        """Take a sample of all memory; return whether the joiners have to wait for the reader."""
        assert self.join.poll() is None, self.said()
        self.memory.look(used_memory=self._redis.info("memory")["used_memory"])
        return any(shard.unread > self._bound for shard in self.shards())

    def stand(self, seconds: float, every_s: float) -> float | None:
        """Let the reader stand still for so long; return when the bound was reached."""
        reached = None
        while self.memory.seconds < seconds:
            if self.look() and reached is None:
                reached = self.memory.seconds
            time.sleep(every_s)
        self.look()
        return reached

    def read(self, every_s: float) -> Iterator[dict[str, Any]]:
        """Stop the load, end the feed, and read all samples, dropping each once it is read."""
        self.load.stop()
        for shard in range(SHARDS):
            self.store.close_feed("soak", shard)
        samples, looked = Samples(self.store, "soak", SHARDS), time.monotonic()
        for count, (shard, position, sample) in enumerate(samples):
            yield json.loads(sample)
            if count % 500 == 0:
                samples.done(shard, position)
            if time.monotonic() - looked > every_s:
                looked = time.monotonic()
                assert self.join.poll() in (None, 0), self.said()

    def said(self) -> str:
        """Return the end of the join's output."""
        return (self._folder / "err").read_text()[-2_000:]

    def _start(self) -> "subprocess.Popen[bytes]":
        (self._folder / "feed.py").write_text(FEED)
        keys = {
            "KAFKA_BOOTSTRAP": self._broker.address,
            "REDIS_URL": self._store_service.address,
            "TOPICS_PARTITIONS": PARTITIONS,
            "JOIN_SHARDS": SHARDS,
            "JOIN_JOINERS": JOINERS,
            "JOIN_STREAM_BOUND": self._bound,
        }
        environment = os.environ | {f"SHADOWSTREAM_{name}": str(value) for name, value in keys.items()}
        command = [sys.executable, "-m", "deploy.cli.main", "join", "feed.py", "--json"]
        with (self._folder / "out").open("wb") as out, (self._folder / "err").open("wb") as err:
            return subprocess.Popen(command, cwd=self._folder, env=environment, stdout=out, stderr=err)

    def _end(self) -> None:
        self.join.terminate()
        self.join.wait()

    def _wait_for_shards(self) -> None:
        deadline = time.monotonic() + HANG_S
        while True:
            try:
                self.shards()
            except StoreRefused:
                assert self.join.poll() is None, self.said()
                assert time.monotonic() < deadline, self.said()
                time.sleep(0.1)
            else:
                return

    def _processes(self) -> dict[str, list[psutil.Process]]:
        control = psutil.Process(self.join.pid)
        workers = sorted(control.children(recursive=True), key=lambda process: process.pid)
        processes = {"control": [control], "store": family(self._store_service), "broker": family(self._broker)}
        return processes | {f"joiner {n}": [worker] for n, worker in enumerate(workers)}


def family(service: Service) -> list[psutil.Process]:
    """Return the processes of a server."""
    return psutil.Process(service._process.pid).children(recursive=True)


def soak(world: Soak, seconds: float, every_s: float = 5.0) -> dict[str, Any]:
    """Stop the reader, let it catch up, compare, and return the figures."""
    reached = world.stand(seconds, every_s)
    waiting = sum(shard.unread for shard in world.shards())
    began, counts, wrong = time.monotonic(), bytearray(), 0
    for sample in world.read(every_s):
        n = int(sample["id"])
        counts.extend(bytes(max(0, n + 1 - len(counts))))
        counts[n] += 1
        wrong += sample["label"] != label_of(n) or sample["kind"] != "joined"
    published = world.load.predictions
    counts.extend(bytes(max(0, published - len(counts))))
    growth = world.memory.growth_mb(max(reached or 0.0, seconds / 10))
    return {
        "minutes": round(seconds / 60, 2),
        "predictions": published,
        "samples": sum(counts),
        "unread_at_the_end_of_standing": waiting,
        "bound_reached_s": reached and round(reached, 1),
        "caught_up_s": round(time.monotonic() - began, 1),
        "lost": sum(counts[n] == 0 for n in range(published) if has_outcome(n)),
        "doubled": sum(max(0, count - 1) for count in counts),
        "wrong": wrong + sum(counts[n] for n in range(len(counts)) if n >= published or not has_outcome(n)),
        "balanced": audit(world.shards()).holds,
        "exit_code": world.join.wait(HANG_S),
        "growth_mb": {name: round(mb, 2) for name, mb in growth.items()},
        "flat": reached is not None and all(mb <= FLAT_MB for mb in growth.values()),
    }


def right(figures: dict[str, Any]) -> bool:
    """Return whether nothing was lost, doubled or changed."""
    return figures["balanced"] and not (
        figures["lost"] or figures["doubled"] or figures["wrong"] or figures["exit_code"]
    )


def main() -> int:
    """Run, and print the figures."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--minutes", type=float, default=60.0)
    options.add_argument("--rate", type=float, default=300.0, help="events a second")
    options.add_argument("--bound", type=int, default=20_000, help="join.stream_bound")
    options.add_argument("--loop", action="store_true", help="the whole loop, its learner stopped (soak_loop.py)")
    arguments = options.parse_args()
    console = Console(stderr=True)
    kafka, redis = (os.environ.get(f"SHADOWSTREAM_TEST_{name}_CMD") for name in ("KAFKA", "REDIS"))
    broker = "Apache Kafka" if kafka else "the embedded broker"
    console.print(f"{arguments.minutes:g} minutes at {arguments.rate:g} events/s on {broker}")
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        what = (Path(folder), arguments.rate, arguments.bound, kafka, redis)
        if arguments.loop:
            loop = stack.enter_context(soak_loop.Loop(*what))
            figures, memory = soak_loop.soak(loop, arguments.minutes * 60), loop.memory
        else:
            world = stack.enter_context(Soak(*what))
            figures, memory = soak(world, arguments.minutes * 60), world.memory
    console.print(memory.table(max(figures["bound_reached_s"] or 0.0, arguments.minutes * 6)))
    print(json.dumps(figures))
    return 0 if right(figures) and figures["flat"] else 1


if __name__ == "__main__":
    sys.exit(orderly(main, HANG_S))
