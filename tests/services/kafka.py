"""One Apache Kafka of a test's own: killed and started again on its port, or with further listeners and an authorizer.

Runs the command of `SHADOWSTREAM_TEST_KAFKA_CMD` as `CMD DATA_DIR PORT property=value ...`: what follows the port goes
into the broker's server.properties and wins over what is there.
"""

import contextlib
import os
import random
import shlex
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import psutil
import pytest

from deploy.embedded import keeper
from streams.errors import BrokerUnreachable
from streams.kafka import ensure_topics

VARIABLE = "SHADOWSTREAM_TEST_KAFKA_CMD"
START_TRIES = 60  # each waits five seconds; against a hang alone
LAUNCHES = 4


def command() -> list[str]:
    """Return the command, or skip the test; under CI fail it."""
    configured = os.environ.get(VARIABLE)
    if not configured and os.environ.get("CI") == "true":
        pytest.fail(f"{VARIABLE} is not set")
    if not configured:
        pytest.skip(f"{VARIABLE} is not set")
    return shlex.split(configured)


def free_ports(count: int) -> list[int]:
    """Find free ports, each followed by another one, outside the range from which connections get theirs."""
    ports: list[int] = []
    while len(ports) < count:
        port = random.randrange(10_000, 32_000, 2)
        with contextlib.suppress(OSError), _held(port), _held(port + 1):
            ports.append(port)
    return ports


def _held(port: int) -> socket.socket:
    return socket.create_server(("127.0.0.1", port))


class Kafka:
    """A broker in `folder`; `properties` are `name=value`. `address` is an open listener's, `listeners` are more.

    `advertised` is what clients are told of those, where it is not the same.
    """

    def __init__(
        self,
        folder: Path,
        properties: Sequence[str] = (),
        listeners: Sequence[str] = (),
        advertised: Sequence[str] | None = None,
    ) -> None:
        self.folder = folder
        (port,) = free_ports(1)
        self.address = f"127.0.0.1:{port}"
        every = [f"PLAINTEXT://{self.address}", *listeners]
        own = [f"listeners={','.join([*every, f'CONTROLLER://127.0.0.1:{port + 1}'])}"]
        shown = every if advertised is None else [every[0], *advertised]
        own += [f"advertised.listeners={','.join(shown)}"]
        self._command = [*command(), str(folder / "data"), str(port), *own, *properties]
        self.start()

    def start(self) -> None:
        """Start it, again on the same port and data, and wait until it answers."""
        for left in reversed(range(LAUNCHES)):
            self._launch()
            while not self._listens() and self._process.poll() is None:
                time.sleep(0.05)  # the client would wait for longer and longer
            if self._process.poll() is None:
                break
            if not left:
                raise AssertionError(self._said())
            time.sleep(0.5)  # most likely somebody's connection has a port for a moment; it ends without a word
        for _ in range(START_TRIES):
            try:
                ensure_topics(self.address, {})
                return
            except BrokerUnreachable:
                assert self._process.poll() is None, self._said()
        raise AssertionError("the broker did not answer")

    def _launch(self) -> None:
        with (self.folder / "kafka.log").open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-I", "-S", keeper.__file__, str(os.getpid()), *self._command],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def _said(self) -> str:
        return (self.folder / "kafka.log").read_text()[-3_000:]

    def _listens(self) -> bool:
        host, port = self.address.split(":")
        try:
            socket.create_connection((host, int(port)), 1.0).close()
        except OSError:
            return False
        return True

    @property
    def processes(self) -> list[psutil.Process]:
        """The broker's."""
        return psutil.Process(self._process.pid).children(recursive=True)

    def kill(self) -> None:
        """Kill it, as a crash would."""
        self._process.communicate(b"!" if self._process.poll() is None else None)

    def close(self) -> None:
        """Stop it."""
        self._process.communicate()
