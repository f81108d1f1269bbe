"""The whole loop as a user runs it, under a steady load, with parts that can be broken; and what must hold at the end.

Owns broker, store, load, the run's command, and a reader of the answers. The faults are in loop_breaks.py.
"""

import os
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack, closing, suppress
from pathlib import Path
from random import Random

import msgspec
import psutil

from deploy import config
from deploy.operate.join.audit import inspect
from deploy.registry import learned
from deploy.registry.commits import backwards
from deploy.registry.kinds import CHAMPIONS, PULSE
from deploy.registry.pulse import PulseNote
from deploy.registry.registry import Registry
from streams.errors import ShadowstreamError
from streams.events import Prediction
from streams.join.store import Store
from streams.kafka import Source, Tp, ensure_topics
from tests.faults.parts.brokers import Lasting, Passing
from tests.faults.parts.steady import Steady, has_outcome, label_of
from tests.faults.parts.stores import One

NAME = "chaos"
PIPELINE = """
from dataclasses import replace
from tests import small

pipeline = replace(small.pipeline, name="chaos", feed=None)
"""
WAIT_S = 300.0  # against a hang alone
REQUESTS, OUTCOMES, PREDICTIONS = (f"{NAME}.{kind}" for kind in ("requests", "outcomes", "predictions"))


class Answers:
    """A thread that reads predictions: which requests were answered, and how long none was."""

    def __init__(self, broker: str) -> None:
        self._broker, self.answered = broker, Counter[str]()
        self.at_s, self.gap_s = time.monotonic(), 0.0  # the last new answer; the longest pause since `mark`
        self._marked_s, self._stop = self.at_s, threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def mark(self) -> float:
        """Return the longest pause between answers since the last call, the one that lasts included."""
        gap_s = max(self.gap_s, time.monotonic() - max(self.at_s, self._marked_s))
        self.gap_s, self._marked_s = 0.0, time.monotonic()
        return gap_s

    def stop(self) -> None:
        """End the thread."""
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        decode, position = msgspec.json.Decoder(Prediction).decode, 0
        while not self._stop.is_set():
            with suppress(ShadowstreamError), closing(Source(self._broker, [Tp(PREDICTIONS, 0)])) as source:
                source.seek(source.tps[0], position)
                while not self._stop.is_set():
                    for polled in source.poll(100, 10_000):
                        position = polled.end
                        self._take([decode(record.value or b"").id for record in polled.records])

    def _take(self, ids: list[str]) -> None:
        if any(one not in self.answered for one in ids):
            now_s = time.monotonic()
            self.gap_s = max(self.gap_s, now_s - max(self.at_s, self._marked_s))
            self.at_s = now_s
        self.answered.update(ids)


class LoopWorld:
    """A context manager. `kafka`: Apache Kafka, not the embedded broker; `redis`: "valkey" (embedded) or "redis"."""

    def __init__(self, folder: Path, seed: int, rate: float, *, kafka: bool = False, redis: str = "valkey") -> None:
        self.folder, self.random, self.path = folder, Random(seed), folder / "pipeline.py"
        self._rate, self._kafka, self._redis = rate, kafka, redis
        self.registry = Registry(folder / "registry" / NAME)
        self._pulse = PulseNote()
        self._stack = ExitStack()

    def __enter__(self) -> "LoopWorld":
        with ExitStack() as stack:
            self.broker = (Lasting if self._kafka else Passing)(self.folder / "kafka")
            stack.callback(self.broker.stop)
            self.store = One(self._redis, self.folder / "stores")
            stack.callback(self.store.stop)
            self.path.write_text(PIPELINE)
            self.settings = config.Settings(
                kafka=config.Kafka(bootstrap=self.broker.joined),
                redis=self.store.address,
                registry=config.Registry(path=str(self.registry.folder.parent)),
            )
            ensure_topics(self.broker.address, dict.fromkeys((REQUESTS, OUTCOMES, PREDICTIONS), 1))
            self.start()
            stack.callback(self.kill)
            self.until(lambda: self.registry.last(CHAMPIONS) >= 0 and self._complete())
            self.load = Steady(
                self.broker.address, (REQUESTS, OUTCOMES), 1, self._rate, lambda n: (1.0, n % 5, 0.5, 1.0), patient=True
            )
            stack.callback(self.load.leave)
            self.answers = Answers(self.broker.address)
            stack.callback(self.answers.stop)
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    @property
    def pulse(self) -> PulseNote:
        """The run's newest pulse, the last one that was seen where the store does not answer."""
        with suppress(ShadowstreamError), closing(Store(self.store.direct, 0.5)) as board:
            self._pulse = PULSE.read(*board.get(NAME, PULSE.name)) or self._pulse
        return self._pulse

    def pids(self) -> dict[str, int]:
        """Return the process of each role that has answered the run."""
        return {one.role: one.pid for one in self.pulse.roles if one.pid and psutil.pid_exists(one.pid)}

    def ray(self, name: str) -> psutil.Process | None:
        """Return one of Ray's own processes."""
        children = psutil.Process(self.run.pid).children()
        return next((one for one in children if one.name() == name and one.status() != psutil.STATUS_ZOMBIE), None)

    def start(self, *options: str) -> None:
        """Start the run."""
        keys = {
            "KAFKA_BOOTSTRAP": self.broker.joined,
            "REDIS_URL": self.store.address.url,
            "REGISTRY_PATH": str(self.registry.folder.parent),
        }
        environment = os.environ | {f"SHADOWSTREAM_{name}": str(value) for name, value in keys.items()}
        command = [sys.executable, "-m", "deploy.cli.main", "run", str(self.path), *options]
        with (self.folder / "out").open("ab") as out:
            self.run = subprocess.Popen(command, env=environment, stdout=out, stderr=out)

    def kill(self) -> None:
        """Kill the run as a crash would (SIGKILL), and wait until its processes have ended."""
        family = psutil.Process(self.run.pid).children(recursive=True) if self.run.poll() is None else []
        self.run.kill()
        self.run.wait()
        _, alive = psutil.wait_procs(family, timeout=WAIT_S)
        assert not alive, alive

    def said(self) -> str:
        """Return the end of what the run has said."""
        return (self.folder / "out").read_text(errors="replace")[-4_000:]

    def until(self, holds: Callable[[], object]) -> None:
        """Wait until something holds; the run must go on meanwhile."""
        deadline = time.monotonic() + WAIT_S
        while not holds():
            assert self.run.poll() is None, self.said()
            assert time.monotonic() < deadline, (self.pulse, self.said())
            time.sleep(0.1)

    def go_on(self, seconds: float) -> None:
        """Let it work for so long."""
        until = time.monotonic() + seconds
        self.until(lambda: time.monotonic() > until)

    def serves(self) -> None:
        """Wait until what is asked from now on is answered."""
        asked = self.load.predictions
        self.until(lambda: self.answers.answered[str(asked)] > 0)

    def whole(self) -> None:
        """Wait until all roles are there, and none waits for anything."""
        self.until(lambda: self._complete() and not any(one.waits_for for one in self.pulse.roles))

    def _complete(self) -> bool:
        pids = self.pids()
        return len(pids) == len(self.pulse.roles) > 0

    def verdict(self) -> dict[str, int]:
        """Stop the load, wait until all is learned, and compare it with what was published; return the counts.

        Raises:
            AssertionError: something was lost, doubled or changed.
            Unbalanced, Disagreement: an equation does not hold, or the verifier disagrees.
        """
        self.load.stop()
        published = self.load.predictions
        wanted = {str(n): float(label_of(n)) for n in range(published) if has_outcome(n)}
        self.until(lambda: learned.count_learned(self.registry).samples >= len(wanted))
        self.until(lambda: all(str(n) in self.answers.answered for n in range(published)))
        self.kill()
        seen = Counter[str]()
        wrong = 0
        for commit in backwards(self.registry):
            for sample in map(learned.read_sample, commit.samples):
                seen[sample.id] += 1
                wrong += wanted.get(sample.id) != sample.label
        lost, doubled = sum(one not in seen for one in wanted), learned.count_learned(self.registry).doubled
        assert (lost, doubled, wrong) == (0, 0, 0), f"lost, doubled, wrong labels: {lost}, {doubled}, {wrong}"
        inspect(self.path, self.settings, compare=True).check()
        again = self.answers.answered.total() - len(self.answers.answered)
        return {"requests": published, "samples": len(seen), "answered again": again, "lost": lost, "doubled": doubled}
