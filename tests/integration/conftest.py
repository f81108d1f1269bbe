"""The feeds of the operator's tests, on the broker of the test."""

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import Running
from tests.integration.operated import Make, World


@pytest.fixture
def make(broker: Running, embedded_store_url: str, tmp_path: Path) -> Iterator[Make]:
    """Makes a feed on the broker of the test."""
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
