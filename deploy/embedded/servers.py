"""The embedded broker and store: real servers as child processes, on free ports, that always end with this process.

Owns starting, checking and ending them, their logs and ports. Does not know topics, feeds or clients: a server is ready
when it answers one hand-written request. A keeper (`deploy/embedded/keeper.py`) makes sure that none outlives us.
"""

import fcntl
import os
import re
import shutil
import socket
import subprocess
import sys
import time
from contextlib import ExitStack, suppress
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import IO, Self

from deploy.config import child_environment
from deploy.embedded import keeper
from deploy.embedded.programs import BROKER, HOST, STORE, UNSYNCED, Program, external

BUCKET = "bucket"  # the name of the object store under a broker whose log is kept
START_S = 300.0  # against a hang alone: Apache Kafka takes 4 s on idle cores, ours about a tenth of one
ANSWER_S = 10.0  # to one request, before it is asked again
PORT_TRIES = 5
LOG_LINES = 15
LEAST_FREE_BYTES = 1 << 20  # of a disk; with less, servers end without a word
NOTHING = "(nothing)"  # stands for the last lines of an empty log
PORT_TAKEN = re.compile("address (already )?in use", re.IGNORECASE)  # musl's words and everyone else's


class Service:
    """A running server, and a context manager that stops it.

    A client connects to `address`; the file `log` has the server's output.
    """

    def __init__(self, program: Program, port: int, log: Path, process: subprocess.Popen[bytes]) -> None:
        self.address = program.address.format(host=HOST, port=port)
        self.port = port
        self.log = log
        self._process, self._abrupt = process, program.abrupt

    @property
    def pid(self) -> int:
        """The process id of its keeper, which is the server's parent."""
        return self._process.pid

    @property
    def exit_code(self) -> int | None:
        """None while it runs."""
        return self._process.poll()

    def stop(self) -> None:
        """End it and wait until it has ended; a second call does nothing."""
        if self._abrupt:
            self.kill()
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

    `command` runs another broker instead, as `command DATA_DIR PORT`; it must stay in the foreground. Without `port` it
    gets a free one.

    Raises:
        BrokerUnreachable: it ended or did not answer; the text has the exit code and the log's path and last lines.
    """
    return start(replace(BROKER, command=external(command)) if command else BROKER, folder, port)


def start_store(folder: Path, command: str | None = None, port: int | None = None, *, synced: bool = True) -> Service:
    """Start the embedded store, which keeps its data in `folder/store`; its log is `folder/store.log`.

    `command`, `port`: as in `start_broker`. Not `synced`, its data outlive every end of its process, but not one of the
    machine: enough beside a broker whose log is in memory.

    Raises:
        StoreUnreachable: it ended or did not answer; the text has the exit code and the log's path and last lines.
    """
    program = STORE if synced else replace(STORE, command=UNSYNCED)
    return start(replace(program, command=external(command)) if command else program, folder, port)


def start(program: Program, folder: Path, port: int | None = None) -> Service:
    """Start a program and wait until it answers; try another port where its port was taken meanwhile.

    Raises:
        Unreachable: it ended or did not answer; the class is `program.error`.
    """
    deadline = time.monotonic() + START_S
    with _locked_log(program, folder.resolve()) as log:
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


def in_use(folder: Path, *, wait: bool) -> bool:
    """Return whether a server is running in a folder; with `wait`, one that is just ending does not count."""
    for name in (BROKER.name, STORE.name, BUCKET):
        if (path := folder / f"{name}.log").is_file():
            with path.open("ab") as log:
                if not _lock(log, 3 * keeper.GRACE_S if wait else 0.0):
                    return True
    return False


def _locked_log(program: Program, folder: Path) -> IO[bytes]:
    """Open the log and lock it: the lock lasts as long as the server, which inherits the log as its output.

    Two stores on one append-only file would ruin it. A server that is just ending, because its parent was killed, is
    waited for.
    """
    try:
        (folder / program.name).mkdir(parents=True, exist_ok=True)
        log = (folder / f"{program.name}.log").open("ab")
    except OSError as wrong:
        raise program.error(f"the {program.name} has no folder to run in: {wrong}") from None
    if not _lock(log, 3 * keeper.GRACE_S):
        log.close()
        raise program.error(f"another {program.name} is running in {folder}")
    return log


def _lock(log: IO[bytes], wait_s: float) -> bool:
    """Lock a log; return False if a server has it and does not end within `wait_s`."""
    deadline = time.monotonic() + wait_s
    while True:
        try:
            fcntl.flock(log, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        except BlockingIOError:
            if time.monotonic() > deadline:
                return False
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
        env=child_environment(program.environment, program.without),
    )
    return Service(program, port, path, process)


def free_port() -> int:
    """Return a port that the system assigns to nobody else for a minute, but that a server can bind.

    A connection whose server side closed first leaves the port in TIME_WAIT: the system does not assign it again, yet
    SO_REUSEADDR, which every server sets, may bind it (as Yelp's ephemeral-port-reserve does).
    """
    with socket.create_server((HOST, 0)) as server:
        port: int = server.getsockname()[1]
        with socket.create_connection((HOST, port)):
            server.accept()[0].close()
        return port


def _answers(program: Program, service: Service, deadline: float) -> bool:
    """Wait for the answer; return False if the server ends or the deadline passes before it comes."""
    while service.exit_code is None and time.monotonic() < deadline:
        with suppress(OSError), socket.create_connection((HOST, service.port), timeout=ANSWER_S) as client:
            client.sendall(program.request)
            if program.answer in client.recv(64):
                return service.exit_code is None
        time.sleep(0.02)
    return False


def no_room(folder: Path) -> str:
    """Return, as the end of a sentence, that a folder's disk is full, empty where it is not."""
    free = shutil.disk_usage(folder).free
    return "" if free >= LEAST_FREE_BYTES else f", and the disk of {folder} has {free:,} bytes free"


def _failure(program: Program, service: Service, began: int) -> str:
    code = service.exit_code
    what = f"did not answer within {START_S:.0f} s" if code is None else f"ended with exit code {code}"
    lines = service.log.read_bytes()[began:].decode(errors="replace").splitlines()[-LOG_LINES:]
    last = "\n".join(f"  {line}" for line in lines or [NOTHING])
    what += no_room(service.log.parent)
    return f"the {program.name} on {HOST}:{service.port} {what}; its last lines in {service.log}:\n{last}"
