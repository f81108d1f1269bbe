"""The server needs the broker and its champion alone; and one bad request holds back no other."""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import pytest
from torch import Tensor

from deploy import config
from deploy.embedded.servers import Service, start_store
from deploy.learning.bootstrap import bootstrap
from deploy.pipeline import Pipeline
from deploy.processes.roles import Plan, Role, build
from deploy.registry.kinds import SERVER
from deploy.registry.opening import open_registry
from streams.dead import letters
from streams.events import Prediction
from streams.join.store import Store
from streams.kafka import Sink, Source, Tp, ensure_topics
from streams.kafka.reading.scan import records
from tests import small
from tests.conftest import Running
from tests.learned import until

BAD, LARGEST = 9.0, 64


class Feed:
    """A feed whose requests are published and served here, on a store of its own."""

    def __init__(self, pipeline: Pipeline, broker: str, store: str, folder: Path, stack: ExitStack) -> None:
        self.pipeline, self.broker, self._stack = pipeline, broker, stack
        self.topics = config.Topics().named(pipeline.name)
        ensure_topics(broker, dict.fromkeys((self.topics.requests, self.topics.predictions, self.topics.dead), 1))
        assert bootstrap(pipeline, open_registry(folder))
        kafka, redis = config.Kafka(bootstrap=broker), config.Redis(url=store)
        settings = config.Settings(kafka=kafka, redis=redis)
        self.plan = Plan(pipeline=Path(), settings=settings, registry=folder, fetch_wait_ms=10)
        self._sink = stack.enter_context(closing(Sink(broker)))
        self._asked = 0

    def server(self) -> Role:
        return build("server", self.plan, self.pipeline, self._stack)

    def ask(self, points: Sequence[tuple[float, float, float, float]]) -> None:
        for x in points:
            value = msgspec.json.encode(small.Point(x))
            self._sink.send(Tp(self.topics.requests, 0), key=b"id-%d" % self._asked, value=value, t_ms=1_000)
            self._asked += 1
        self._sink.flush()

    def answered(self) -> list[str]:
        decode = msgspec.json.Decoder(Prediction).decode
        return [decode(record.value or b"").id for record in self._log(self.topics.predictions)]

    def refused(self) -> dict[str, str]:
        found = [letters.read(record) for record in self._log(self.topics.dead)]
        return {(one.record.key or b"").decode(): one.reason for one in found if one.record}

    def _log(self, topic: str) -> list[Any]:
        with closing(Source(self.broker, [Tp(topic, 0)], fetch_wait_ms=10)) as source:
            return list(records(source))


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


def restarted(folder: Path, port: int, stack: ExitStack) -> Service:
    return stack.enter_context(start_store(folder, port=port))


def test_a_server_answers_on_without_its_store_and_notes_all_once_it_is_back(
    broker: Running, tmp_path: Path, stack: ExitStack
) -> None:
    store = stack.enter_context(start_store(tmp_path / "store"))
    pipeline = replace(small.pipeline, name="storeless")
    feed = Feed(pipeline, broker.address, store.address, tmp_path / "registry", stack)
    server = feed.server()
    feed.ask([(0.0, 1.0, 2.0, 3.0)] * 5)
    until(lambda: bool(server.step(10)) and len(feed.answered()) == 5)
    store.kill()
    feed.ask([(0.0, 1.0, 2.0, 3.0)] * 7)

    def go_on() -> bool:
        server.step(10)
        return len(feed.answered()) == 12

    until(go_on)
    again = restarted(tmp_path / "store", store.port, stack)
    with closing(Store(again.address)) as board:

        def noted() -> bool:
            server.step(10)
            note = SERVER.read(*board.get(pipeline.name, SERVER.name))
            return note is not None and note.served == 12

        until(noted)
    assert sorted(feed.answered()) == sorted(f"id-{n}" for n in range(12))


def picky(points: Sequence[Any]) -> tuple[Tensor, ...]:
    if any(point.x[0] == BAD for point in points):
        raise IndexError(f"no place has the number {BAD:g}")
    return small.encode(points)


def test_a_request_that_encode_refuses_is_a_dead_letter_and_all_others_are_answered(
    broker: Running, store_server: Running, tmp_path: Path, stack: ExitStack
) -> None:
    pipeline = replace(small.pipeline, name=f"picky-{store_server.kind}", encode=picky)
    feed = Feed(pipeline, broker.address, store_server.address, tmp_path, stack)
    bad = {3, 4, 17, 63}
    feed.ask([(BAD if n in bad else 0.0, 1.0, 2.0, 3.0) for n in range(LARGEST)])
    server = feed.server()

    def served() -> bool:
        server.step(10)
        return len(feed.answered()) + len(feed.refused()) >= LARGEST

    until(served)
    assert sorted(feed.answered()) == sorted(f"id-{n}" for n in range(LARGEST) if n not in bad)
    refused = feed.refused()
    assert refused.keys() == {f"id-{n}" for n in bad}
    assert all("IndexError: no place has the number 9" in reason for reason in refused.values())
