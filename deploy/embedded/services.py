"""Broker and store of one run: started where the settings name none, watched, and ended with this process.

Owns the feed's folder as far as embedded services need it, and the file there by which other processes find them. Does
not know what runs on them.
"""

import logging
import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Protocol

import msgspec
from msgspec import Struct

from deploy.config import Settings
from deploy.embedded.bucket import Bucket, kept
from deploy.embedded.programs import BROKER, STORE
from deploy.embedded.servers import BUCKET, Service, in_use, no_room, start_broker, start_store
from deploy.registry.runs import RUNS
from deploy.registry.storage.home import Home, Where, at
from streams.errors import ConfigError, Unreachable

DURABLE_FETCH_WAIT_MS = 50  # a fetch lists objects: at 5 ms it found none of 500 batches, at 20 ms all
EMBEDDED_FETCH_WAIT_MS = 5  # its long poll does not wake on new data
KAFKA_FETCH_WAIT_MS = 20  # one fetch is in flight at a time: a silent partition's long wait delays the busy ones
ADDRESSES = "embedded.json"
MEMORY = (
    "the broker's log is in memory and goes when the run ends; to keep it, set kafka.embedded = 'durable' "
    "(pip install 'shadowstream[durable]')"
)


class Addresses(Struct, frozen=True):
    """The addresses of a run's embedded services; never one of the user's, which may contain a password."""

    bootstrap: str | None = None
    store: str | None = None


def embedded_addresses(folder: Path) -> Addresses:
    """Return the addresses of the services that the last run in this folder embedded; they may have ended."""
    path = folder / ADDRESSES
    try:
        return msgspec.json.decode(path.read_bytes(), type=Addresses) if path.is_file() else Addresses()
    except msgspec.DecodeError as wrong:
        raise ConfigError(f"{path} is damaged ({wrong}); remove it, and start the run again") from None


class Start(Protocol):
    """Starts a service in a folder, at a free port if none is given."""

    def __call__(self, folder: Path, *, port: int | None = None) -> Service:
        """Start it, and return it once it answers."""


@contextmanager
def provided(
    settings: Settings, where: Where, say: Callable[[str], None], *, fresh: bool, mark: str = ADDRESSES
) -> Iterator["Services"]:
    """Start the services that have no address in the settings; leaving the `with` ends them.

    `fresh` first deletes what is kept there; the object `mark` shows that it holds a feed.

    Raises:
        ConfigError: another run uses the folder, or it holds a feed whose log is gone.
        Unreachable: a service did not start, or one that was started here has ended.
    """
    home = at(where)
    folder = home.folder
    _prepare(settings, home, fresh=fresh, mark=mark)
    with ExitStack() as stack:

        def serve(start: Start, port: int | None = None) -> Service:
            service = stack.enter_context(start(folder / "services", port=port))
            say(f"embedded {service.log.stem} at {service.address}{'' if port is None else ' again'}")
            return service

        starts = _starts(settings)
        running = {name: serve(one) for name, one in starts.items()}
        in_memory = BROKER.name in running and settings.kafka.embedded == "memory"
        if in_memory:
            say(MEMORY)
        addresses = Addresses(
            *(running[name].address if name in running else None for name in (BROKER.name, STORE.name))
        )
        services = Services(
            settings=with_embedded(settings, addresses),
            fetch_wait_ms=_fetch_wait_ms(settings),
            lasting=not in_memory,
            _running=running,
            _again={
                name: partial(serve, one) for name, one in starts.items() if not (in_memory and name == BROKER.name)
            },
        )
        (folder / ADDRESSES).write_bytes(msgspec.json.encode(addresses))
        stack.callback(_forget, services, folder / ADDRESSES)
        try:
            yield services
        except Unreachable:
            services.check()
            raise


@dataclass(kw_only=True)
class Services:
    """Broker and store of a run; `provided` makes it. `settings` have every address.

    A fetch that finds nothing waits at the broker for `fetch_wait_ms` at most. `holds` says that something was read
    from them: the file by which others find them then stays when they end, and says what they held. `lasting` says that
    what they hold outlives this process, so that the feed can be continued.
    """

    settings: Settings
    fetch_wait_ms: int
    lasting: bool
    holds: bool = False
    _running: dict[str, Service]
    _again: dict[str, Callable[[int], Service]]

    def check(self) -> None:
        """Check that the services started here are running; start those again that have all on their disk.

        Raises:
            Unreachable: the broker has ended, whose log was in memory, or a service cannot be started again.
        """
        for name, service in self._running.items():
            if service.exit_code is None:
                continue
            if name not in self._again:
                raise Unreachable(_ended(service))
            logging.getLogger("shadowstream").warning("%s; starting it again", _ended(service))
            self._running[name] = self._again[name](service.port)


def _starts(settings: Settings) -> dict[str, Start]:
    """Return what starts each service that has no address, in order."""
    broker = settings.kafka.bootstrap is None
    durable = broker and settings.kafka.embedded == "durable"
    starts: dict[str, Start] = {}
    if settings.redis.embedded:
        starts[STORE.name] = partial(start_store, synced=durable or not broker)
    if durable:
        below = Bucket()
        return {**starts, BUCKET: below.start, BROKER.name: below.start_broker}
    return {**starts, BROKER.name: start_broker} if broker else starts


def _fetch_wait_ms(settings: Settings) -> int:
    if settings.kafka.bootstrap is not None:
        return KAFKA_FETCH_WAIT_MS
    return DURABLE_FETCH_WAIT_MS if settings.kafka.embedded == "durable" else EMBEDDED_FETCH_WAIT_MS


def _ended(service: Service) -> str:
    what = f"the embedded {service.log.stem} ended with exit code {service.exit_code}"
    return f"{what}{no_room(service.log.parent)}; its log is {service.log}"


def _forget(services: Services, addresses: Path) -> None:
    if not services.holds:
        addresses.unlink(missing_ok=True)


def _prepare(settings: Settings, home: Home, *, fresh: bool, mark: str) -> None:
    folder = home.folder
    used = f"another run uses {folder}; end it first"
    if fresh:
        if in_use(folder / "services", wait=True):
            raise ConfigError(used)
        _empty(home)
    elif ((folder / mark).exists() or home.objects.get(mark) is not None) and (why := without_log(settings, home)):
        raise ConfigError(used if in_use(folder / "services", wait=False) else why)
    folder.mkdir(parents=True, exist_ok=True)


def without_log(settings: Settings, home: Home) -> str | None:
    """Return why no start has the log of the feed that is there: an embedded broker kept it in memory, or otherwise.

    None: it has it, or the broker is not embedded.
    """
    folder = home.folder / "services"
    durable, there = settings.kafka.embedded == "durable", kept(folder)
    if settings.kafka.bootstrap is not None or (durable and there):
        return None
    if there:
        return (
            f"{home} holds a feed whose log is kept: set kafka.embedded = 'durable' to go on with it. --fresh deletes "
            "the feed and begins anew"
        )
    gone = "goes when its run ends" if in_use(folder, wait=False) else "is gone"
    return (
        f"{home} holds a feed whose log {gone}: an embedded broker keeps nothing, unless kafka.embedded = 'durable' "
        "when the feed begins. --fresh deletes it and begins anew; --from begins another with what it has learned; "
        "a broker that lasts is named by kafka.bootstrap"
    )


def _empty(home: Home) -> None:
    """Delete all but who has run the feed, for one of them may still be alive."""
    folder, objects = home.folder, home.objects
    for name in () if home.local else objects.sizes():
        if not name.startswith(f"{RUNS}/"):
            objects.delete(name)
    for path in folder.iterdir() if folder.is_dir() else ():
        if path.name == RUNS:
            continue
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)


def with_embedded(settings: Settings, embedded: Addresses) -> Settings:
    """Return the settings with the addresses of the services for which they have none."""
    kafka, redis = settings.kafka, settings.redis
    if redis.embedded:
        redis = msgspec.structs.replace(redis, url=embedded.store)
    kafka = msgspec.structs.replace(kafka, bootstrap=kafka.bootstrap or embedded.bootstrap)
    return msgspec.structs.replace(settings, redis=redis, kafka=kafka)
