"""Broker and store of one run: started where the settings name none, watched, ended with us, found by other processes.

Owns the feed's folder as far as embedded services need it, and the file there that has their addresses. Does not know
what runs on them.
"""

import shutil
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Self

import msgspec
from msgspec import Struct

from deploy.config import Settings
from deploy.embedded.servers import Service, start_broker, start_store
from streams.errors import ConfigError, Unreachable

EMBEDDED_FETCH_WAIT_MS = 5  # its long poll does not wake on new data
KAFKA_FETCH_WAIT_MS = 20  # one fetch is in flight at a time: a silent partition's long wait delays the busy ones
ADDRESSES = "embedded.json"


class Addresses(Struct, frozen=True):
    """The addresses of a run's embedded services; never one of the user's, which may contain a password."""

    bootstrap: str | None
    store: str | None


def with_running(settings: Settings, folder: Path) -> Settings:
    """Return the settings with the addresses of the embedded services of the run that uses this folder."""
    running = msgspec.json.decode((folder / ADDRESSES).read_bytes(), type=Addresses)
    return _with(settings, running)


class Services:
    """A context manager that starts what the settings leave to be embedded; inside it `settings` have every address.

    `fresh` first deletes the folder's contents; a file or folder called `mark` in it shows that it holds a feed.
    """

    def __init__(
        self, settings: Settings, folder: Path, say: Callable[[str], None], *, fresh: bool, mark: str = ADDRESSES
    ) -> None:
        self._configured = self.settings = settings
        self._folder, self._say, self._fresh, self._mark = folder, say, fresh, mark
        self._running: list[Service] = []
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        self._prepare()
        with ExitStack() as stack:
            store = self._serve(stack, start_store) if self._configured.redis.embedded else None
            broker = self._serve(stack, start_broker) if self._configured.kafka.bootstrap is None else None
            self._stack = stack.pop_all()
        addresses = Addresses(broker, store)
        self.settings = _with(self._configured, addresses)
        (self._folder / ADDRESSES).write_bytes(msgspec.json.encode(addresses))
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        with self._stack:
            if isinstance(error, Unreachable):
                self.check()

    @property
    def fetch_wait_ms(self) -> int:
        """How long the broker may hold back a fetch that finds nothing, in milliseconds."""
        return EMBEDDED_FETCH_WAIT_MS if self._configured.kafka.bootstrap is None else KAFKA_FETCH_WAIT_MS

    def check(self) -> None:
        """Look whether the services started here are running.

        Raises:
            Unreachable: one has ended.
        """
        for service in self._running:
            if service.exit_code is not None:
                what = f"the embedded {service.log.stem} ended with exit code {service.exit_code}"
                raise Unreachable(f"{what}; its log is {service.log}")

    def _prepare(self) -> None:
        if self._fresh:
            shutil.rmtree(self._folder, ignore_errors=True)
        if self._configured.kafka.bootstrap is None and (self._folder / self._mark).exists():
            raise ConfigError(
                f"{self._folder} holds a feed whose log was in an embedded broker, which is gone; "
                "--fresh deletes the feed and begins anew, kafka.bootstrap names a broker that lasts"
            )
        self._folder.mkdir(parents=True, exist_ok=True)

    def _serve(self, stack: ExitStack, start: Callable[[Path], Service]) -> str:
        service = stack.enter_context(start(self._folder / "services"))
        self._running.append(service)
        self._say(f"embedded {service.log.stem} at {service.address}")
        return service.address


def _with(settings: Settings, embedded: Addresses) -> Settings:
    """Return the settings with the addresses of what they leave to be embedded."""
    kafka, redis = settings.kafka, settings.redis
    if redis.embedded:
        redis = msgspec.structs.replace(redis, url=embedded.store)
    kafka = msgspec.structs.replace(kafka, bootstrap=kafka.bootstrap or embedded.bootstrap)
    return msgspec.structs.replace(settings, redis=redis, kafka=kafka)
