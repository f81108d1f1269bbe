"""A run whose store is emptied ends with an error; started again, it rebuilds the store and learns everything once.

Its newest weights serve (`continuous`), before and after, and `find` names the sync that has answered.
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import psutil
import pytest
from redis import Redis

from deploy.registry import learned as audit
from deploy.registry.kinds import CHAMPIONS
from deploy.registry.registry import Registry
from streams.kafka import Sink, Tp
from tests import small
from tests.conftest import Running

PIPELINE = """
from dataclasses import replace
from shadowstream import Promotion
from tests import small
pipeline = replace(small.pipeline, name="{name}", promotion=Promotion(policy="continuous", sync_s=600))
"""
PATIENCE_S = 300.0  # against a hang alone


class Run:
    """`shadowstream run` in a process, with services that outlive it."""

    def __init__(self, name: str, folder: Path, broker: str, store: str) -> None:
        self.name, self.folder, self.registry = name, folder, Registry(folder / name)
        (folder / "pipeline.py").write_text(PIPELINE.format(name=name))
        keys = {"KAFKA_BOOTSTRAP": broker, "REDIS_URL": store, "REGISTRY_PATH": str(folder), "JOIN_SHARDS": "2"}
        keys |= {"LEARN_COMMIT_SAMPLES": "20", "LEARN_COMMIT_S": "0.2", "SERVE_ON_CONTRADICTION": "stop"}
        self._environment = os.environ | {f"SHADOWSTREAM_{key}": value for key, value in keys.items()}
        self._sink, self._rng = Sink(broker), np.random.default_rng(3)

    def start(self) -> None:
        with (self.folder / "out").open("wb") as out:
            self.process = subprocess.Popen(self._command("run"), stdout=out, stderr=out, env=self._environment)

    def said(self) -> str:
        return " ".join((self.folder / "out").read_text().split())

    def publish(self, *numbers: int) -> None:
        for n in numbers:
            where, label = small.point(self._rng)
            key, t_ms = f"id-{n}".encode(), small.START_MS + n * 60_000
            self._sink.send(Tp(f"{self.name}.requests", 0), key=key, value=msgspec.json.encode(where), t_ms=t_ms)
            outcome = msgspec.json.encode({"label": label})
            self._sink.send(Tp(f"{self.name}.outcomes", 0), key=key, value=outcome, t_ms=t_ms + 1_000)
        self._sink.flush()

    def audit(self) -> dict[str, Any]:
        return self._told("audit", "--verify", "--rebuild")

    def find(self, key: str) -> dict[str, Any]:
        return self._told("find", key)

    def _told(self, command: str, *options: str) -> dict[str, Any]:
        asked = [*self._command(command), *options, "--json"]
        done = subprocess.run(asked, env=self._environment, capture_output=True, check=False)
        assert done.returncode == 0, done.stderr.decode()
        told: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
        return told

    def until(self, holds: Callable[[], bool]) -> None:
        deadline = time.monotonic() + PATIENCE_S
        while not holds():
            assert self.process.poll() is None, self.said()[-3_000:]
            assert time.monotonic() < deadline, self.said()[-3_000:]
            time.sleep(0.1)

    def learned(self) -> int:
        return audit.count_learned(self.registry).samples

    def end(self) -> None:
        if self.process.poll() is None:
            family = psutil.Process(self.process.pid).children(recursive=True)
            self.process.kill()
            psutil.wait_procs(family, timeout=PATIENCE_S)

    def _command(self, name: str) -> list[str]:
        return [sys.executable, "-m", "deploy.cli.main", name, str(self.folder / "pipeline.py")]


@pytest.mark.parametrize("broker", ["external"], indirect=True)
@pytest.mark.parametrize("store_server", ["external"], indirect=True)
def test_a_store_that_was_emptied_is_made_anew(broker: Running, store_server: Running, tmp_path: Path) -> None:
    run = Run(f"restart-{store_server.kind}", tmp_path, broker.address, store_server.address)
    run.start()
    try:
        run.until(lambda: run.registry.last(CHAMPIONS) == 0)
        run.publish(*range(80))
        run.until(lambda: run.learned() == 80)
        run.publish(*range(80, 100))  # what moves the watermark next is known to come after enough samples for a sync
        run.until(lambda: run.learned() == 100)
        run.until(lambda: run.registry.last(CHAMPIONS) > 0)
        with Redis.from_url(store_server.address) as redis:
            redis.flushall()
        assert run.process.wait(PATIENCE_S) == 5
        assert "start the feed again" in run.said()
        run.publish(*range(100, 150))
        run.start()
        run.until(lambda: run.learned() == 150)
        assert run.said().count("the store has lost shard") == 2
        assert "serves, as before" in run.said()
        found = run.find("id-149")
        assert (found["version"]["sync_of"], found["version"]["version"]) == (0, found["prediction"]["version"])
        report = run.audit()
        assert (report["verdict"]["differing"], report["verdict"]["ids"]) == (0, 150)
        assert report["rebuilt"]["kept"] == report["rebuilt"]["rebuilt"]
        assert [one["left"] for one in report["learning"]] == [one["right"] for one in report["learning"]]
        assert audit.count_learned(run.registry).doubled == 0
    finally:
        run.end()
