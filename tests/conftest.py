"""Real brokers and stores for the tests: the embedded ones, and those for which the environment names a command.

`SHADOWSTREAM_TEST_KAFKA_CMD` and `SHADOWSTREAM_TEST_REDIS_CMD` are called as `CMD DATA_DIR PORT` and run a server in
the foreground. Where one is missing its tests are skipped; under `CI=true` they fail.
"""

import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
import torch
from hypothesis import HealthCheck, settings
from redis import Redis

from deploy.embedded.servers import Service, start_broker, start_store
from streams.join.store import Store

SECOND = {"external", "redis", "redis cluster", "valkey cluster"}  # parameters: other than one embedded server


# A script's `make test &` ignores Ctrl-C, one under nohup SIGHUP, and so would all that a test starts to interrupt it.
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGHUP, signal.SIG_DFL)

# On a busy machine an example may take any time.
settings.register_profile("untimed", settings(), deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("untimed")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark tests as long by their folder and their parameters."""
    for item in items:
        if "unit" in item.path.parts:
            continue  # no unit test starts a server; "redis" is an import's name there
        call = getattr(item, "callspec", None)
        values = call.params.values() if call else ()
        second = any(isinstance(value, str) and value in SECOND for value in values)
        if second or "faults" in item.path.parts:
            item.add_marker(pytest.mark.long)


class Running(NamedTuple):
    """A server for the tests: its kind, its address, and the folder of its files."""

    kind: str
    address: str
    folder: Path


def command(variable: str, kind: str) -> str | None:
    """Return an external server's command, None for an embedded server; without one skip the test, under CI fail it."""
    configured = os.environ.get(variable) if kind == "external" else None
    if kind == "external" and not configured:
        if os.environ.get("CI") == "true":
            pytest.fail(f"{variable} is not set")
        pytest.skip(f"{variable} is not set")
    return configured


def run(start: Callable[[Path, str | None], Service], kind: str, variable: str, folder: Path) -> Iterator[Running]:
    with start(folder, command(variable, kind)) as service:
        yield Running(kind, service.address, folder)


@pytest.fixture(scope="session", params=["embedded", "external"])
def broker(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A Kafka broker: the embedded one, and the one that the environment names."""
    yield from run(start_broker, request.param, "SHADOWSTREAM_TEST_KAFKA_CMD", tmp_path_factory.mktemp("broker"))


@pytest.fixture(scope="session", params=["embedded", "external"])
def store_server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A Redis-protocol store: the embedded one, and the one that the environment names."""
    yield from run(start_store, request.param, "SHADOWSTREAM_TEST_REDIS_CMD", tmp_path_factory.mktemp("store"))


@pytest.fixture(scope="session")
def embedded_store_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of an embedded store, for tests that need no other."""
    with start_store(tmp_path_factory.mktemp("store")) as service:
        yield service.address


@pytest.fixture(scope="session")
def embedded_store(embedded_store_url: str) -> Iterator[Store]:
    """A client of that store."""
    store = Store(embedded_store_url)
    yield store
    store.close()


@pytest.fixture(scope="session")
def embedded_redis(embedded_store_url: str) -> Iterator[Redis]:
    """A plain Redis client of that store."""
    client = Redis.from_url(embedded_store_url)
    yield client
    client.close()


@pytest.fixture(autouse=True, scope="session")
def one_thread() -> None:
    """Networks here are tiny: several threads would lose more time waiting for each other than they save."""
    torch.set_num_threads(1)
