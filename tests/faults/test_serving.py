"""Server and conductor killed and frozen: a request served again is joined once, a candidate promoted once."""

import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from random import Random
from typing import TypeVar

import msgspec
import numpy as np
import pytest
from msgspec.structs import replace

from deploy import config
from deploy.learning.bootstrap import bootstrap
from deploy.operate.attach import Attached, attach
from deploy.operate.join.audit import inspect
from deploy.pipeline import load
from deploy.processes.roles import Plan
from deploy.promotion.conductor import ConductorRole
from deploy.registry.kinds import CANDIDATES, CHAMPIONS, VERDICTS, Kind
from deploy.registry.opening import open_registry
from deploy.registry.records import Candidate, Champion, Figures
from deploy.registry.registry import Registry
from learners.evaluation.verdict import Decision, Verdict
from streams.events import Prediction
from streams.join.joiner import Joiner
from streams.join.store import Store
from streams.kafka import Sink, Tp, ensure_topics
from streams.kafka.reading.scan import records as in_log
from streams.readers import read_sample
from tests import small
from tests.conftest import Running
from tests.faults import role

PIPELINE = """
from dataclasses import replace
from tests import small
pipeline = replace(small.pipeline, name="serving")
"""
T = small.START_MS
R = TypeVar("R", bound=msgspec.Struct)
REQUESTS = 1_500
WAIT_S = 300.0  # against a hang alone
PROVEN = {0, 2, 3}  # of five candidates
FIGURES = Figures(**dict.fromkeys(Figures.__struct_fields__, 0))


class Serving:
    """Servers of one feed, each a process; requests and outcomes for them; champions to swap to."""

    def __init__(self, folder: Path, attached: Attached, stack: ExitStack, seed: int) -> None:
        self.attached, self.random, self.folder = attached, Random(seed), folder
        self.registry = open_registry(folder / "roles")
        self._plan = Plan(
            pipeline=folder / "pipeline.py", settings=attached.settings, registry=self.registry.folder, fetch_wait_ms=5
        )
        self.sink = stack.enter_context(closing(Sink(attached.broker)))
        self.processes: list[subprocess.Popen[bytes]] = []
        self.topics = attached.settings.topics.named(attached.feed.name)
        self.asked = 0

    def ask(self, count: int) -> None:
        """Publish so many requests, each with its outcome."""
        for n in range(self.asked, self.asked + count):
            point, label = small.point(np.random.default_rng(n))
            key = b"id-%d" % n
            self.sink.send(Tp(self.topics.requests, 0), key=key, value=msgspec.json.encode(point), t_ms=T + n)
            self.sink.send(Tp(self.topics.outcomes, 0), key=key, value=b'{"label":%d}' % label, t_ms=T + n + 1)
        self.sink.flush()
        self.asked += count

    def serve(self, commit_s: float = 0.5) -> int:
        """Start one more server; return its process id."""
        self.processes.append(role.start("server", self._plan, self.folder / "server.log", commit_s))
        return self.processes[-1].pid

    def swap(self) -> None:
        """Create the next champion, whose answers differ."""
        number = self.registry.last(CHAMPIONS)
        last = self.registry.record(CHAMPIONS, number)
        assert last is not None
        following = replace(last, number=number + 1, offset=(last.offset[0] + 1.0,), candidate=number)
        assert self.registry.create(CHAMPIONS, number + 1, following)

    def answers(self) -> list[Prediction]:
        """Read all that was served."""
        with self.attached.source([Tp(self.topics.predictions, 0)]) as source:
            return [msgspec.json.decode(record.value or b"", type=Prediction) for record in in_log(source)]

    def wait(self, holds: Callable[[list[Prediction]], object]) -> list[Prediction]:
        """Wait until a condition holds for the answers."""
        deadline = time.monotonic() + WAIT_S
        while not holds(answers := self.answers()):
            assert time.monotonic() < deadline, (self.folder / "server.log").read_text()[-2_000:]
            time.sleep(0.1)
        return answers


@pytest.fixture
def serving(broker: Running, embedded_store_url: str, tmp_path: Path) -> Iterator[Serving]:
    path = tmp_path / "pipeline.py"
    path.write_text(PIPELINE)
    settings = config.Settings(
        kafka=config.Kafka(bootstrap=broker.address),
        redis=config.Redis(url=embedded_store_url),
        registry=config.Registry(path=str(tmp_path / "joined")),
    )
    with ExitStack() as stack:
        attached = stack.enter_context(attach(path, settings))
        made = Serving(tmp_path, attached, stack, seed=5)
        topics = made.topics
        joined = (topics.predictions, topics.outcomes)
        ensure_topics(broker.address, dict.fromkeys((topics.requests, topics.dead, *joined), 1))
        attached.store.create(attached.feed.name, 1, [Tp(topic, 0) for topic in joined])
        assert bootstrap(load(path), made.registry)
        yield made
        for process in made.processes:
            process.kill()
            process.wait()


@pytest.mark.parametrize("broker", ["embedded"], indirect=True)
def test_servers_killed_and_frozen_with_champions_swapped_between(serving: Serving) -> None:
    serving.ask(REQUESTS)
    first = serving.serve(commit_s=1e6)
    serving.wait(lambda answers: len(answers) >= 512)
    os.kill(first, signal.SIGSTOP)  # it has produced, and committed nothing
    serving.swap()
    second = serving.serve()
    serving.wait(lambda answers: versions(answers, REQUESTS))
    os.kill(first, signal.SIGCONT)  # two servers of the same requests
    serving.ask(REQUESTS)
    serving.wait(lambda answers: len(answers) - len(versions(answers)) > REQUESTS)
    for victim in (first, second):
        os.kill(victim, signal.SIGKILL)
    serving.swap()
    serving.serve()
    serving.ask(REQUESTS)
    answers = serving.wait(lambda answers: versions(answers, 3 * REQUESTS))
    assert max(len(several) for several in versions(answers).values()) > 1
    joined_once(serving)


def versions(answers: list[Prediction], count: int = 0) -> dict[str, set[int]]:
    """Return which versions answered each request; nothing before there are so many answers."""
    by: dict[str, set[int]] = {}
    for one in answers:
        by.setdefault(one.id, set()).add(one.version)
    return by if len(by) >= count else {}


def joined_once(serving: Serving) -> None:
    """Join everything: each request once, with the version that answered first; the rest are counted as duplicates."""
    for process in serving.processes:
        process.kill()
        process.wait()
    answers = serving.answers()
    attached, answered = serving.attached, {one.id: one.version for one in reversed(answers)}
    with attached.source(attached.tps) as source:
        joiner = Joiner(
            attached.feed.name, attached.settings.join, source, attached.store, serving.sink, attached.readers
        )
        left = len(answers) + serving.asked
        while left > 0:
            left -= joiner.step(100)
        (state,) = joiner.shards
        joiner.close()
    counted = state.counters
    assert (counted["opened"], counted["joined"]) == (serving.asked, serving.asked)
    assert counted["prediction_duplicate"] == len(answers) - serving.asked
    samples = [read_sample(body) for _, body, _ in attached.store.read(attached.feed.name, 0, "0-0", 3 * REQUESTS)]
    assert {one.prediction.id: one.prediction.version for one in samples} == answered
    inspect(serving.folder / "pipeline.py", attached.settings, compare=True).check()


class Frozen(Registry):
    """A registry that stops its user before call number `at`, while another works."""

    def __init__(self, folder: Path, at: int, meanwhile: Callable[[], None]) -> None:
        super().__init__(folder)
        self._left, self._meanwhile = at, meanwhile

    def record(self, kind: Kind[R], number: int) -> R | None:
        self._call()
        return super().record(kind, number)

    def last(self, kind: Kind[R], start: int = -1) -> int:
        self._call()
        return super().last(kind, start)

    def create(self, kind: Kind[R], number: int, record: R) -> bool:
        self._call()
        return super().create(kind, number, record)

    def _call(self) -> None:
        self._left -= 1
        if self._left == 0:
            self._meanwhile()


@pytest.mark.parametrize("at", range(1, 40))
def test_a_frozen_conductor_wakes_up_beside_its_successor(at: int, embedded_store: Store, tmp_path: Path) -> None:
    registry = Registry(tmp_path)
    registry.create(CHAMPIONS, 0, promoted(0, None))
    for n in range(5):
        decision = Decision.PROVEN if n in PROVEN else Decision.FUTILE
        registry.create(CANDIDATES, n, candidate(n))
        registry.create(VERDICTS, n, verdict(n, decision))
    frozen = Frozen(tmp_path, at, lambda: work(ConductorRole("conducted", embedded_store, registry)))
    work(ConductorRole("conducted", embedded_store, frozen))
    champions = [registry.record(CHAMPIONS, n) for n in range(registry.last(CHAMPIONS) + 1)]
    assert [one.candidate for one in champions if one] == [None, *sorted(PROVEN)]


def work(conductor: ConductorRole) -> None:
    while conductor.step(0):
        pass


def promoted(number: int, candidate: int | None) -> Champion:
    return Champion(
        number=number, artifact="", candidate=candidate, offset=(0.0,), at_ms=0, learned=0, evidence="a test"
    )


def candidate(number: int) -> Candidate:
    return Candidate(number=number, commit=0, learned=0, at_ms=0, reason="", artifact=str(number), figures=FIGURES)


def verdict(number: int, decision: Decision) -> Verdict:
    return Verdict(
        candidate=number, decision=decision, samples=1, log_wealth=9.0, log_needed=1.0, gain=0.0, margin=0.0,
        offset=(0.0,), at_ms=0, commit=0,
    )  # fmt: skip
