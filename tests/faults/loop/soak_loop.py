"""The whole loop under a steady load whose learner is stopped (SIGSTOP): `make soak LOOP=--loop`.

The server goes on answering, so that the broker's log grows and nothing else may; then the learner goes on, and what it
commits must be what was published, once. Everything of Ray's driver is in this process, with the load.
"""

import os
import signal
import time
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import psutil
from ray._private import state as ray_state
from redis import Redis

from deploy import config
from deploy.embedded.servers import start_broker, start_store
from deploy.registry import learned as audit
from deploy.registry.commits import backwards
from deploy.run.running import running
from streams.join.policy import JoinPolicy
from tests.faults.parts.memory import FLAT_MB, Memory
from tests.faults.parts.steady import Steady, has_outcome, label_of

PIPELINE = """
from dataclasses import replace
from tests import small

pipeline = replace(small.pipeline, name="soak", feed=None)
"""
CATCH_UP_S = 900.0


def pids() -> dict[str, int]:
    """Return the process of each role."""
    pids = {one["Name"].rpartition("-")[0]: int(one["Address"].get("Pid") or one["Pid"]) for one in _alive()}
    return dict(sorted(pids.items()))


def _alive() -> list[Any]:
    return [one for one in ray_state.actors().values() if one["State"] == "ALIVE"]


class Loop:
    """A context manager: servers, the run in this process, and the load."""

    def __init__(self, folder: Path, rate: float, bound: int, kafka: str | None, redis: str | None) -> None:
        self._folder, self._rate, self._bound, self._kafka, self._redis_command = folder, rate, bound, kafka, redis
        self._stack = ExitStack()

    def __enter__(self) -> "Loop":
        with ExitStack() as stack:
            self._broker = stack.enter_context(start_broker(self._folder, self._kafka))
            self._store = stack.enter_context(start_store(self._folder, self._redis_command))
            self._redis = stack.enter_context(closing(Redis.from_url(self._store.address)))
            path = self._folder / "pipeline.py"
            path.write_text(PIPELINE)
            settings = config.Settings(
                kafka=config.Kafka(bootstrap=self._broker.address),
                redis=config.Redis(url=self._store.address),
                registry=config.Registry(path=str(self._folder)),
                join=JoinPolicy(stream_bound=self._bound),
            )
            self.session = stack.enter_context(running(path, settings, lambda _: None, fresh=False))
            self.roles = pids()
            topics = ("soak.requests", "soak.outcomes")
            self.load = Steady(self._broker.address, topics, 1, self._rate, lambda n: (1.0, n % 5, 0.5, 1.0))
            stack.callback(self.load.leave)
            stack.callback(self._go_on)
            self._stack = stack.pop_all()
        self.memory = Memory(self._processes, unjudged=("broker", "driver"))
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def stand(self, seconds: float, every_s: float) -> float | None:
        """Stop the learner, and look for so long; return when the bound was reached."""
        os.kill(self.roles["learner"], signal.SIGSTOP)
        reached, looked = None, -every_s
        for view in self.session.live():
            if self.memory.seconds - looked >= every_s:
                looked = self.memory.seconds
                self.memory.look(used_memory=self._redis.info("memory")["used_memory"])
            if reached is None and view.unread > self._bound:
                reached = looked
            if self.memory.seconds >= seconds:
                return reached
        return reached

    def catch_up(self) -> None:
        """Stop the load, let the learner go on, and wait until it has committed as much as was published."""
        self.load.stop()
        self._go_on()
        wanted, began = sum(map(has_outcome, range(self.load.predictions))), time.monotonic()
        for view in self.session.live():
            late = time.monotonic() - began > CATCH_UP_S
            if late or (view.learned >= wanted and audit.count_learned(self.session.registry).samples >= wanted):
                return

    def _go_on(self) -> None:
        os.kill(self.roles["learner"], signal.SIGCONT)

    def _processes(self) -> dict[str, list[psutil.Process]]:
        servers = {"store": self._store, "broker": self._broker}
        processes = {name: psutil.Process(one._process.pid).children(recursive=True) for name, one in servers.items()}
        processes["driver"] = [psutil.Process()]
        return processes | {role: [psutil.Process(pid)] for role, pid in self.roles.items()}


def soak(world: Loop, seconds: float, every_s: float = 5.0) -> dict[str, Any]:
    """Stop the learner, let it catch up, compare, and return the figures."""
    reached = world.stand(seconds, every_s)
    began = time.monotonic()
    world.catch_up()
    published = world.load.predictions
    samples = [audit.read_sample(one) for commit in backwards(world.session.registry) for one in commit.samples]
    labels = {int(one.id): one.label for one in samples}
    _, learned, equations = world.session.balance()
    growth = world.memory.growth_mb(max(reached or 0.0, seconds / 10))
    return {
        "minutes": round(seconds / 60, 2),
        "predictions": published,
        "samples": learned.samples,
        "bound_reached_s": reached and round(reached, 1),
        "caught_up_s": round(time.monotonic() - began, 1),
        "lost": sum(n not in labels for n in range(published) if has_outcome(n)),
        "doubled": learned.doubled,
        "wrong": sum(n >= published or not has_outcome(n) or label != label_of(n) for n, label in labels.items()),
        "balanced": all(equation.holds for equation in equations),
        "exit_code": 0,
        "growth_mb": {name: round(mb, 2) for name, mb in growth.items()},
        "flat": reached is not None and all(mb <= FLAT_MB for mb in growth.values()),
    }
