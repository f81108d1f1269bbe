"""The rows of the join's benchmark: which processes each has, and running one of them over filled or growing topics.

Owns child processes, cores, and their common start. Does not know what a row's processes do.
"""

import json
import os
import subprocess
import sys
import tempfile
import uuid
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

import psutil
from redis import Redis

from benchmarks.join import ours
from deploy.embedded.servers import Service, start_store
from streams.join.store import Store
from streams.redis import Address
from tests.services.redis import Cluster

PEERS = Path(__file__).parents[1] / "peers"
ROOT = PEERS.parents[1]
LIMIT_S = 180.0
SHARDS = 2  # of the feed `ours.FEED`; they lie on two nodes


class Row(NamedTuple):
    """A row of the table: so many of our `joiners`, or a peer's `script`, which imports `package`.

    With several `shards` the store is a cluster of three nodes. All that a row needs shares its `cores`: its processes,
    its store, the broker.
    """

    title: str
    cores: int = 1
    joiners: int = 0
    shards: int = 1
    script: str = ""
    package: str = ""

    @property
    def name(self) -> str:
        """Title and cores."""
        return f"{self.title}, {('one core', 'two cores')[self.cores - 1]}"


RAW = Row("raw poll()")
ONE = Row("this join, one joiner", joiners=1)
APART = Row("this join, one joiner", 2, joiners=1)  # store and broker on the other core
QUIX = Row("Quix Streams join_interval", script="quix.py", package="quixstreams")
ROWS = (
    RAW,
    ONE,
    Row("this join, two joiners", 2, joiners=2),
    Row("this join, two joiners, a cluster", 2, joiners=2, shards=SHARDS),
    QUIX,
    Row("Bytewax join", script="bytewax_join.py", package="bytewax"),
    Row("Pathway join", script="pathway_join.py", package="pathway"),
    RAW._replace(cores=2),
    APART,
)


class Result(NamedTuple):
    """What a run measured: the times of the first event and the last sample, how many events, and when each id came.

    `worked_s` is the processor time of the row's processes, without store and broker.
    """

    began_s: float
    ended_s: float
    events: int
    rejected: int
    worked_s: float
    seen: dict[str, float]

    @property
    def events_a_second(self) -> float:
        """The events of both topics, divided by the time that they took."""
        return self.events / (self.ended_s - self.began_s)

    @property
    def us_an_event(self) -> float:
        """The processor time that an event takes, which says more than the clock on a machine that others use."""
        return self.worked_s / self.events * 1e6


class Failed(Exception):
    """A row's process ended without a result."""


def why_not(row: Row, python: str | None) -> str | None:
    """Return why a row cannot run here; None if it can."""
    if not row.script:
        return None if row.cores <= len(os.sched_getaffinity(0)) else "this machine has one core"
    if not python:
        return "it needs --peers-python"
    tried = subprocess.run([python, "-c", f"import {row.package}"], capture_output=True, text=True)
    last = (tried.stderr.strip().splitlines() or ["?"])[-1]
    return None if tried.returncode == 0 else f"{python} cannot import {row.package}: {last}"


class Arena:
    """Runs rows over one pair of topics.

    `task` has the keys bootstrap, predictions, outcomes, partitions and pairs; where not all events are pairs, events
    instead.
    """

    def __init__(self, task: dict[str, Any], broker: Service, redis_cmd: str | None, python: str | None) -> None:
        self._task, self._broker, self._redis_cmd, self._python = task, broker, redis_cmd, python
        self._cores = sorted(os.sched_getaffinity(0))

    @contextmanager
    def running(self, row: Row, *, watch: bool) -> Iterator["Crew"]:
        """Start a row's processes, each on its core, with a folder and store of the row's own; then stop them."""
        cores = self._cores[: row.cores]
        _confine(self._broker, cores)
        with tempfile.TemporaryDirectory(prefix="join-", ignore_cleanup_errors=True) as folder:
            task = self._task | {"folder": folder, "watch": watch, "group": f"bench-{uuid.uuid4().hex}"}
            if not row.joiners:
                with Crew([self._start(row, task, 0)], Path(folder)) as crew:
                    yield crew
                return
            with self._store(row, Path(folder), cores) as at:
                task |= {"store": str(at.url), "cluster": at.cluster, "shards": row.shards}
                with closing(Store(at)) as client:
                    client.create(ours.FEED, row.shards, ours.partitions(task, list(range(task["partitions"]))))
                parts = [self._start(row, task | {"watch": False}, n) for n in range(row.joiners)]
                readers = [self._ours(task | {"part": "read"}, cores[-1])] if watch else []
                with Crew([*readers, *parts], Path(folder), first=watch) as crew:
                    yield crew

    @contextmanager
    def _store(self, row: Row, folder: Path, cores: Sequence[int]) -> Iterator[Address]:
        """Start a row's store, which does not rewrite its log: no samples are trimmed here."""
        with ExitStack() as stack:
            if row.shards > 1:
                cluster = Cluster("redis" if self._redis_cmd else "valkey", folder / "nodes")
                stack.callback(cluster.stop)
                address, nodes = cluster.address, [node._service for node in cluster.nodes]
            else:
                nodes = [stack.enter_context(start_store(folder, self._redis_cmd))]
                address = Address(url=nodes[0].address)
            for node in nodes:
                _confine(node, cores)
                with closing(Redis(port=node.port)) as redis:
                    redis.config_set("auto-aof-rewrite-percentage", 0)
            yield address

    def _start(self, row: Row, task: dict[str, Any], number: int) -> subprocess.Popen[bytes]:
        if row.script:
            return _process([str(self._python), str(PEERS / row.script)], task, self._cores[0])
        of = max(row.joiners, 1)
        own = list(range(number, task["partitions"], of))
        mine: dict[str, Any] = {"own": own, "part": "join" if row.joiners else "raw"}
        if "pairs" in task:
            mine["events"] = 2 * sum(len(range(n, task["pairs"], task["partitions"])) for n in own)
        return self._ours(task | mine, self._cores[number % len(self._cores)])

    def _ours(self, task: dict[str, Any], core: int) -> subprocess.Popen[bytes]:
        return _process([sys.executable, "-m", "benchmarks.join.ours"], task, core)


def _confine(service: Service, cores: Sequence[int]) -> None:
    """Let a server, with all its threads and children, run on these cores only."""
    keeper = psutil.Process(service.pid)
    for process in (keeper, *keeper.children(recursive=True)):
        for thread in process.threads():
            with suppress(ProcessLookupError):
                os.sched_setaffinity(thread.id, cores)


def _process(command: Sequence[str], task: dict[str, Any], core: int) -> subprocess.Popen[bytes]:
    with Path(task["folder"], f"{uuid.uuid4().hex}.log").open("wb") as log:
        return subprocess.Popen(
            [*command, json.dumps(task)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            cwd=ROOT,
            preexec_fn=lambda: os.sched_setaffinity(0, {core}),
        )


class Crew:
    """A row's processes; a context manager that ends them. With `first`, the result is the first process's alone."""

    def __init__(self, processes: list[subprocess.Popen[bytes]], folder: Path, *, first: bool = False) -> None:
        self._processes, self._folder, self._first = processes, folder, first

    def go(self) -> None:
        """Wait until all are ready, then start all."""
        for process in self._processes:
            if not process.stdout or not any(line.strip() == b"ready" for line in iter(process.stdout.readline, b"")):
                raise Failed(self._last_words())
        for process in self._processes:
            if process.stdin:
                process.stdin.write(b"go\n")
                process.stdin.flush()

    def result(self) -> Result:
        """Wait for the end; the results of joiners that shared the work are added up.

        Raises:
            Failed: one ended without a result, or too late; the text is the last line of its log.
        """
        results = [self._result_of(process) for process in self._processes[: 1 if self._first else None]]
        return Result(
            min(t["began_s"] for t in results),
            max(t["ended_s"] for t in results),
            sum(t["events"] for t in results),
            sum(t["rejected"] for t in results),
            sum(t["worked_s"] for t in results),
            dict(results[0]["seen"]),
        )

    def _result_of(self, process: subprocess.Popen[bytes]) -> Any:
        try:
            process.wait(LIMIT_S)
        except subprocess.TimeoutExpired:
            raise Failed(f"not done within {LIMIT_S:.0f} s") from None
        path = self._folder / f"{process.pid}.json"
        if not path.exists():
            raise Failed(self._last_words())
        return json.loads(path.read_text())

    def _last_words(self) -> str:
        lines = [line for log in self._folder.glob("*.log") for line in log.read_text(errors="replace").splitlines()]
        return lines[-1] if lines else "it ended, and its log is empty"

    def __enter__(self) -> "Crew":
        return self

    def __exit__(self, *_: object) -> None:
        for process in self._processes:
            process.kill()
            process.communicate()
