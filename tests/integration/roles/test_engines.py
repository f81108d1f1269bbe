"""The server with engines on, on a real broker and store: each version answers by its own engine, to the last bit."""

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from itertools import count
from pathlib import Path

import msgspec
import pytest
import torch
from rich.console import Console

from deploy import config
from deploy.console.loop.view import draw
from deploy.engine import Running as Version
from deploy.engine import load
from deploy.learning.bootstrap import bootstrap
from deploy.monitor import View
from deploy.processes.roles import Plan, Role, build
from deploy.registry.kinds import CHAMPIONS, SERVER
from deploy.registry.notes import ServerNote
from deploy.registry.opening import open_registry
from deploy.registry.records import Champion, Engine
from deploy.registry.registry import Registry
from streams.events import Prediction
from streams.join.store import Store
from streams.kafka import Sink, Source, Tp, ensure_topics
from tests import small
from tests.conftest import Running
from tests.learned import until

SMALL = Path(small.__file__)
NUMBERS = count()
HANG_S = 300
EMBEDDED = pytest.mark.parametrize(("broker", "store_server"), [("embedded", "embedded")], indirect=True)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Registry:
    """A registry with the small pipeline's first version, and another under number 1."""
    pytest.importorskip("onnxscript")
    pytest.importorskip("onnxruntime")
    registry, other = open_registry(tmp_path_factory.mktemp("one")), Registry(tmp_path_factory.mktemp("other"))
    assert bootstrap(small.pipeline, registry, engines=True)
    assert bootstrap(replace(small.pipeline, seed=1), other, engines=True)
    second = other.record(CHAMPIONS, 0)
    assert second is not None
    assert isinstance(second.engine, Engine)
    for digest in (second.artifact, second.engine.template):
        registry.put(other.get(digest))
    assert registry.create(CHAMPIONS, 1, msgspec.structs.replace(second, number=1))
    return registry


class World:
    """A feed's server, its topics, and the versions by which its answers are checked."""

    def __init__(self, broker: str, store: str, folder: Path, made: Registry, engines: bool, stack: ExitStack) -> None:
        self.pipeline = replace(small.pipeline, name=f"engines-{next(NUMBERS)}")
        topics = config.Topics().named(self.pipeline.name)
        ensure_topics(broker, dict.fromkeys((topics.requests, topics.predictions, topics.dead), 1))
        self._tp, self._store = Tp(topics.requests, 0), Store(store)
        self.registry = open_registry(folder)
        for blob in (made.folder / "blobs").iterdir():
            self.registry.put(blob.read_bytes())
        self._champions = list(made.records(CHAMPIONS))
        self._versions = [self._load(champion, engines) for champion in self._champions]
        self.promote(0)
        settings = config.Settings(
            kafka=config.Kafka(bootstrap=broker), redis=config.Redis(url=store), serve=config.Serve(engines=engines)
        )
        plan = Plan(pipeline=SMALL, settings=settings, registry=folder, fetch_wait_ms=10)
        self.server: Role = build("server", plan, self.pipeline, stack)
        self._sink, self._sent = Sink(broker), 0
        self._source = Source(broker, [Tp(topics.predictions, 0)], fetch_wait_ms=10)
        stack.callback(self._store.close)
        stack.callback(self._sink.close)
        stack.callback(self._source.close)

    def _load(self, champion: Champion, engines: bool) -> Version:
        return load(self.registry, champion.artifact, champion.engine, small.net, engines=engines)

    def promote(self, number: int) -> None:
        assert self.registry.create(CHAMPIONS, number, self._champions[number])

    def note(self) -> ServerNote:
        (data,) = self._store.get(self.pipeline.name, "server")
        return msgspec.json.decode(data or b"", type=ServerNote)

    def await_version(self, version: int) -> None:
        """Step until this version serves: it is loaded in a thread."""

        def serves() -> bool:
            self.server.step(10)
            return SERVER.read(*self._store.get(self.pipeline.name, SERVER.name)) is not None and (
                self.note().version == version
            )

        until(serves)

    def ask(self, rows: int, version: int) -> None:
        """Have so many requests answered by this version, to the last bit as its engine does."""
        asked: dict[str, small.Point] = {}
        generator = torch.Generator().manual_seed(self._sent)
        for x in torch.randn(rows, 4, generator=generator).tolist():
            point = small.Point((x[0], x[1], x[2], x[3]))
            asked[f"id-{self._sent}"] = point
            self._sink.send(self._tp, key=b"id-%d" % self._sent, value=msgspec.json.encode(point), t_ms=1_000)
            self._sent += 1
        self._sink.flush()
        answers: dict[str, Prediction] = {}
        end = time.monotonic() + HANG_S
        while answers.keys() != asked.keys():
            assert time.monotonic() < end, "the server does not answer"
            self._step(answers)
        assert {a.version for a in answers.values()} == {version}
        ours = self._versions[version](*small.encode(list(asked.values())))
        ours = ours + torch.tensor(self._champions[version].offset)
        assert torch.equal(torch.tensor([answers[name].output for name in asked]), ours)

    def _step(self, answers: dict[str, Prediction]) -> None:
        self.server.step(10)
        for polled in self._source.poll(10, 1_000):
            for record in polled.records:
                answer = msgspec.json.decode(record.value or b"", type=Prediction)
                answers[answer.id] = answer


@pytest.fixture
def begin(broker: Running, store_server: Running, tmp_path: Path, made: Registry) -> Iterator[Callable[[bool], World]]:
    with ExitStack() as stack:
        yield lambda engines: World(broker.address, store_server.address, tmp_path, made, engines, stack)


@EMBEDDED
@pytest.mark.parametrize("engines", [True, False])
def test_each_version_is_answered_by_its_engine(begin: Callable[[bool], World], engines: bool) -> None:
    world = begin(engines)
    for version in (0, 1):
        if version:
            world.promote(version)
            world.await_version(version)
        for rows in (1, 8, 100):
            world.ask(rows, version)
        note = world.note()
        assert note.version == version
        assert len(note.engines) == engines
        for line in note.engines:
            assert line.startswith(f"v{version}, ")
            assert "by onnxruntime; 0.0" in line


def test_what_runs_the_version_is_shown() -> None:
    shown = View(
        name="f", at_ms=0, records=0, served=0, waiting=0, unread=0, lag_ms=0, learned=0, metrics=None, trials=(),
        champions=[], candidates=[], verdicts={}, engines=("v3, torch: not installed: [x]",),
    )  # fmt: skip
    with (console := Console(width=100)).capture() as printed:
        console.print(draw(shown))
    assert "v3, torch: not installed: [x]" in printed.get()
