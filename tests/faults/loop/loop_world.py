"""The whole loop as a user runs it, under a steady load, with parts that can be broken; and what must hold at the end.

Owns broker, store, registry, load, the run's command, and a reader of the answers. The faults are in loop_breaks.py.
"""

import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager, suppress
from pathlib import Path
from random import Random

import msgspec
import psutil

from deploy import config
from deploy.operate.join.audit import inspect
from deploy.processes.nodes.remains import NOTE, Note
from deploy.registry import learned
from deploy.registry.commits import backwards
from deploy.registry.kinds import CHAMPIONS, PULSE
from deploy.registry.pulse import PulseNote
from deploy.registry.registry import Registry
from deploy.registry.storage.home import LOCAL, home
from streams.errors import ShadowstreamError
from streams.join.store import Store
from streams.kafka import ensure_topics
from tests.faults.loop.answers import Answers
from tests.faults.parts.brokers import Lasting, Passing
from tests.faults.parts.registries import Bucket, Folder
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


class LoopWorld:
    """A context manager. `kafka`: Apache Kafka, not the embedded broker; `redis`: "valkey" (embedded) or "redis".

    `bucket`: the registry is in an object store, not in a folder.
    """

    def __init__(
        self,
        folder: Path,
        seed: int,
        rate: float,
        *,
        kafka: bool = False,
        redis: str = "valkey",
        bucket: bool = False,
    ) -> None:
        self.folder, self.random, self.path = folder, Random(seed), folder / "pipeline.py"
        self._rate, self._kafka, self._redis, self._bucket = rate, kafka, redis, bucket
        self._pulse, self._before = PulseNote(), set[int]()  # the roles of runs before this one
        self._stack = ExitStack()

    def __enter__(self) -> "LoopWorld":
        with ExitStack() as stack:
            self.broker = (Lasting if self._kafka else Passing)(self.folder / "kafka")
            stack.callback(self.broker.stop)
            self.store = One(self._redis, self.folder / "stores")
            stack.callback(self.store.stop)
            self.place = (Bucket if self._bucket else Folder)(self.folder)
            stack.callback(self.place.stop)
            stack.enter_context(_environment(self.place.variables))
            self.registry = Registry(home(self.place.path, NAME))
            self.path.write_text(PIPELINE)
            self.settings = config.Settings(
                kafka=config.Kafka(bootstrap=self.broker.joined),
                redis=self.store.address,
                registry=config.Registry(path=self.place.path),
            )
            ensure_topics(self.broker.address, dict.fromkeys((REQUESTS, OUTCOMES, PREDICTIONS), 1))
            self.start()
            stack.callback(self._end)
            self.until(lambda: self.registry.last(CHAMPIONS) >= 0 and self._complete())
            self.load = Steady(
                self.broker.address, (REQUESTS, OUTCOMES), 1, self._rate, lambda n: (1.0, n % 5, 0.5, 1.0), patient=True
            )
            stack.callback(self.load.leave)
            self.answers = Answers(self.broker.address, PREDICTIONS)
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

    def ray(self, name: str) -> psutil.Process:
        """Return one of Ray's own processes."""
        found = [one for one in psutil.Process(self.run.pid).children() if one.name() == name and lives(one)]
        assert found, self.said()
        return found[0]

    def sessions(self) -> list[Path]:
        """Return the folders of the run's Rays."""
        folder = self.registry.folder if self.registry.home.local else self.folder / LOCAL / NAME
        note = msgspec.json.decode((folder / NOTE).read_bytes(), type=Note)
        return [*map(Path, note.sessions)]

    def start(self, *options: str) -> None:
        """Start the run; one may be there whose roles live on for a moment."""
        self._before |= set(self.pids().values())
        keys = {
            "KAFKA_BOOTSTRAP": self.broker.joined,
            "REDIS_URL": self.store.address.url,
            "REGISTRY_PATH": self.place.path,
        }
        environment = os.environ | {f"SHADOWSTREAM_{name}": str(value) for name, value in keys.items()}
        command = [sys.executable, "-m", "deploy.cli.main", "run", str(self.path), *options]
        with (self.folder / "out").open("ab") as out:
            self.run = subprocess.Popen(command, env=environment, stdout=out, stderr=out, cwd=self.folder)

    def kill(self) -> list[psutil.Process]:
        """Kill the run as a crash would (SIGKILL); return the processes that it had, of which some live on."""
        family = psutil.Process(self.run.pid).children(recursive=True) if self.run.poll() is None else []
        self.run.kill()
        self.run.wait()
        return family

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

        def answered() -> bool:
            self.load.check()
            return self.answers.answered[str(asked)] > 0

        self.until(answered)

    def whole(self) -> None:
        """Wait until all roles are there, and none waits for anything."""
        self.until(lambda: self._complete() and not any(one.waits_for for one in self.pulse.roles))

    def _complete(self) -> bool:
        pids = self.pids()
        return len(pids) == len(self.pulse.roles) > 0 and not self._before & set(pids.values())

    def _end(self) -> None:
        """Kill the run and all that it has."""
        for one in self.kill():
            with suppress(psutil.NoSuchProcess):
                one.kill()

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
        self._end()
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


def lives(process: psutil.Process) -> bool:
    """Return whether a process is there, and not merely its exit code."""
    with suppress(psutil.NoSuchProcess):
        return bool(process.status() != psutil.STATUS_ZOMBIE)
    return False


@contextmanager
def stopped(processes: Sequence[psutil.Process]) -> Iterator[None]:
    """Let processes stand still (SIGSTOP) for the `with`; one may be killed meanwhile."""
    for one in processes:
        one.suspend()
    try:
        yield
    finally:
        for one in processes:
            with suppress(psutil.NoSuchProcess):
                one.resume()


@contextmanager
def _environment(variables: Mapping[str, str]) -> Iterator[None]:
    """Have these variables set for the `with`, here and in processes that begin meanwhile."""
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name) if value is None else os.environ.update({name: value})
