"""The server with engines on, on a real broker and store, and the process that measures beside it."""

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from dataclasses import replace
from itertools import count
from pathlib import Path

import msgspec
import psutil
import pytest
import torch
from rich.console import Console

from compressors.artifact import format as artifact
from compressors.artifact.parity import LARGEST
from compressors.engines.engine import ENGINES
from compressors.engines.fastest import MEAN
from deploy import config
from deploy.console.view import draw
from deploy.learning.bootstrap import bootstrap
from deploy.monitor import View
from deploy.processes.roles import Plan, Role, build
from deploy.registry.kinds import CHAMPIONS
from deploy.registry.records import Champion, ServerNote
from deploy.registry.registry import Registry
from deploy.serving.engines import LEAST_ROWS
from deploy.serving.measuring import Measuring
from learners.online.batches import Inputs
from streams.errors import MeasuringError
from streams.events import Prediction
from streams.join.store import Store
from streams.kafka import Sink, Source, Tp, ensure_topics
from tests import small
from tests.conftest import Running

SMALL = Path(small.__file__)
NUMBERS = count()
END_S = 100
EMBEDDED = pytest.mark.parametrize(("broker", "store_server"), [("embedded", "embedded")], indirect=True)
ROWS: Inputs = (torch.randn(LEAST_ROWS, 4, generator=torch.Generator().manual_seed(0)),)


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> list[Champion]:
    """Two versions of the small pipeline, both artifacts in the registry at `folder`."""
    registry = Registry(tmp_path_factory.mktemp("other"))
    found = []
    for number in range(2):
        own = Registry(tmp_path_factory.mktemp("one"))
        bootstrap(replace(small.pipeline, seed=number), own)
        first = own.record(CHAMPIONS, 0)
        assert first is not None
        digest = registry.put(own.get(first.artifact))
        found.append(msgspec.structs.replace(first, number=number, artifact=digest, evidence=str(registry.folder)))
    return found


class World:
    """A feed's server, its topics, and the artifacts by which its answers are checked."""

    def __init__(self, broker: str, store: str, folder: Path, versions: list[Champion], stack: ExitStack) -> None:
        self.pipeline = replace(small.pipeline, name=f"engines-{next(NUMBERS)}")
        topics = config.Topics().named(self.pipeline.name)
        ensure_topics(broker, dict.fromkeys((topics.requests, topics.predictions, topics.dead), 1))
        self.stack = stack
        self._tp, self._store, self._versions = Tp(topics.requests, 0), Store(store), versions
        self.registry = Registry(folder)
        blobs = [Registry(Path(v.evidence)).get(v.artifact) for v in versions]
        self._models = [artifact.load(data, small.net) for data in blobs]
        for data in blobs:
            self.registry.put(data)
        self.promote(0)
        settings = config.Settings(
            kafka=config.Kafka(bootstrap=broker), redis=config.Redis(url=store), serve=config.Serve(engines=True)
        )
        plan = Plan(pipeline=SMALL, settings=settings, registry=folder, fetch_wait_ms=10)
        self.server: Role = build("server", plan, self.pipeline, stack)
        self._sink, self._sent = Sink(broker), 0
        self._source = Source(broker, [Tp(topics.predictions, 0)], fetch_wait_ms=10)
        stack.callback(self._store.close)
        stack.callback(self._sink.close)
        stack.callback(self._source.close)

    def promote(self, number: int) -> None:
        assert self.registry.create(CHAMPIONS, number, self._versions[number])

    def note(self) -> ServerNote:
        (data,) = self._store.get(self.pipeline.name, "server")
        return msgspec.json.decode(data or b"", type=ServerNote)

    def ask(self, rows: int, version: int) -> float:
        """Have so many requests answered by this version; gives the largest difference from its model's answers."""
        asked: dict[str, small.Point] = {}
        generator = torch.Generator().manual_seed(self._sent)
        for x in torch.randn(rows, 4, generator=generator).tolist():
            point = small.Point((x[0], x[1], x[2], x[3]))
            asked[f"id-{self._sent}"] = point
            self._sink.send(self._tp, key=b"id-%d" % self._sent, value=msgspec.json.encode(point), t_ms=1_000)
            self._sent += 1
        self._sink.flush()
        answers: dict[str, Prediction] = {}
        until(lambda: answers.keys() == asked.keys(), lambda: self._step(answers))
        assert {a.version for a in answers.values()} == {version}
        with torch.inference_mode():
            ours = self._models[version](*small.encode(list(asked.values())))
            largest = self._models[version](*ROWS).abs().max()
        ours = ours + torch.tensor(self._versions[version].offset)
        gap = (torch.tensor([answers[name].output for name in asked]) - ours).abs()
        assert gap.max() <= LARGEST * largest
        assert rows < LEAST_ROWS or gap.mean() <= MEAN * largest  # a bound for many, as the one it was measured by
        return float(gap.max())

    def _step(self, answers: dict[str, Prediction]) -> None:
        self.server.step(10)
        for polled in self._source.poll(10, 1_000):
            for record in polled.records:
                answer = msgspec.json.decode(record.value or b"", type=Prediction)
                answers[answer.id] = answer


def until(done: Callable[[], bool], step: Callable[[], object]) -> None:
    end = time.monotonic() + END_S
    while not done():
        assert time.monotonic() < end, "it takes too long"
        step()


@pytest.fixture
def world(broker: Running, store_server: Running, tmp_path: Path, two: list[Champion]) -> Iterator[World]:
    with ExitStack() as stack:
        yield World(broker.address, store_server.address, tmp_path, two, stack)
    until(lambda: not measuring(), lambda: time.sleep(0.01))


def measuring() -> list[psutil.Process]:
    return [p for p in psutil.Process().children() if p.status() != psutil.STATUS_ZOMBIE and _measures(p)]


def _measures(process: psutil.Process) -> bool:
    with suppress(psutil.NoSuchProcess):  # it may have ended between two lines
        return "deploy.serving.measuring" in process.cmdline()
    return False


@EMBEDDED
def test_each_version_is_served_by_torch_and_then_by_what_was_measured(world: World) -> None:
    """Before, during and after the change-over, and again for the next version, the old measurement being dropped."""
    assert world.ask(LEAST_ROWS - 1, version=0) == 0
    assert not measuring()
    assert world.ask(1, version=0) == 0
    until(lambda: bool(measuring()), lambda: world.server.step(10))
    assert world.ask(20, version=0) == 0
    (old,) = measuring()
    world.promote(1)
    assert world.ask(LEAST_ROWS, version=1) == 0
    until(lambda: "being measured" in world.note().engines[0], lambda: world.server.step(10))
    assert world.ask(8, version=1) == 0
    assert [p.pid for p in measuring()] != [old.pid]
    until(lambda: "by rows" in world.note().engines[0], lambda: world.ask(3, version=1))
    for rows in (1, 8, 100):
        world.ask(rows, version=1)
    assert world.note().version == 1
    assert world.note().engines[0].startswith("v1, by rows: ")
    assert not measuring()


@EMBEDDED
def test_a_server_that_ends_ends_its_measurement(world: World) -> None:
    world.ask(LEAST_ROWS, version=0)
    until(lambda: bool(measuring()), lambda: world.server.step(10))
    world.stack.close()
    assert not measuring()


def test_what_runs_the_version_is_shown() -> None:
    shown = View(
        name="f", at_ms=0, joined=0, served=0, waiting=0, unread=0, lag_ms=0, learned=0, metrics=None, trial=None,
        champions=[], candidates=[], verdicts={}, engines=("v3, by rows: quick for 1", "refused: slow: [no]"),
    )  # fmt: skip
    with (console := Console(width=100)).capture() as printed:
        console.print(draw(shown))
    assert "v3, by rows: quick for 1" in printed.get()
    assert "refused: slow: [no]" in printed.get()


def begun(two: list[Champion], pipeline: Path = SMALL, inputs: Inputs = ROWS) -> Measuring:
    return Measuring(pipeline, Path(two[0].evidence), (1, 8), two[0].artifact, inputs)


def test_a_choice_comes_back_whole(two: list[Champion]) -> None:
    model = artifact.load(Registry(Path(two[0].evidence)).get(two[0].artifact), small.net)
    measured = begun(two)
    until(measured.ended, lambda: time.sleep(0.05))
    found = measured.found(model)
    folder = Path(measured._kept.name)
    measured.drop()
    assert list(found.chosen) == [1, 8]
    assert set(found.chosen.values()) <= {"torch", *(engine.name for engine in ENGINES)}
    assert found.runs.keys() == set(found.chosen.values())
    assert (found(*ROWS) - model(*ROWS)).abs().max() <= LARGEST * model(*ROWS).abs().max()
    assert not folder.exists()


def test_a_process_that_fails_says_why(two: list[Champion], tmp_path: Path) -> None:
    (tmp_path / "pipeline.py").write_text("pipeline = 3\n")
    measured = begun(two, tmp_path / "pipeline.py")
    until(measured.ended, lambda: time.sleep(0.05))
    with pytest.raises(MeasuringError, match=r"pipeline\.py: needs a module-level"):
        measured.found(small.net())
    measured.drop()


def test_a_process_whose_server_is_gone_ends_and_leaves_nothing(two: list[Champion]) -> None:
    measured = begun(two)
    folder = Path(measured._kept.name)
    assert not measured.ended()
    measured._child.leave()
    until(measured.ended, lambda: time.sleep(0.05))
    assert measured._child.exit_code == 1
    assert not folder.exists()
    measured.drop()
