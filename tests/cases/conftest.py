"""What the cases share: a real Apache Kafka, for those that the embedded broker cannot show."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from deploy.embedded.servers import start_broker
from tests.cases.join import FEED, Join
from tests.conftest import Running, run


@pytest.fixture(scope="session", params=["external"])
def kafka(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """An Apache Kafka, which the environment names: long tests."""
    yield from run(start_broker, request.param, "SHADOWSTREAM_TEST_KAFKA_CMD", tmp_path_factory.mktemp("kafka"))


@pytest.fixture
def joining(tmp_path: Path) -> Iterator[Callable[..., Join]]:
    """Start a join: joining(name, toml, feed, wait=False, command="run", VARIABLE=value); all end with the test."""
    with ExitStack() as undo:

        def start(name: str, toml: str = "", feed: str = FEED, **more: Any) -> Join:
            folder = tmp_path / f"{len(list(tmp_path.iterdir()))}"
            return undo.enter_context(Join(folder, name, toml, feed, **more))

        yield start
