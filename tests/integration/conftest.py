"""The feeds of the operator's tests, on the test's broker, and of the learner's, on a list of events."""

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from streams.events import Sample
from streams.join.store import Store
from tests.conftest import Running
from tests.integration.join.operated import Make, World
from tests.learned import Fed, Feed, begun


@pytest.fixture
def make(broker: Running, embedded_store_url: str, tmp_path: Path) -> Iterator[Make]:
    """Makes a feed on the test's broker."""
    with ExitStack() as stack:

        def made(**more: Any) -> World:
            world = World(tmp_path, broker.address, embedded_store_url, **more)
            stack.push(world.undo)
            return world

        yield made


@pytest.fixture
def only_kafka(broker: Running) -> None:
    if broker.kind == "embedded":
        pytest.skip("the embedded broker deletes no records and shows aborted ones")


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return begun(tmp_path_factory.mktemp("first"))


@pytest.fixture
def fed(embedded_store: Store, first: Path, tmp_path: Path) -> Fed:
    """Makes a feed whose log is a list of events."""

    def made(log: list[Sample], shards: int = 1, store: Store = embedded_store) -> Feed:
        return Feed(store, first, tmp_path / "registry", log, shards)

    return made
