"""A Ray cluster of several nodes on this machine, under a token, each with a working folder and processes of its own.

No process of a test joins it: Ray keeps in a process whether it shows a token.
"""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.cases.join import until

ROOT = Path(__file__).parents[1]
RAY = Path(sys.executable).with_name("ray")
TOKEN = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "5" * 64}
STARTED = "Ray runtime started"


class Nodes:
    """The nodes; `nodes` makes the cluster. `address` is the head's."""

    def __init__(self, folder: Path, sockets: str) -> None:
        self._folder, self._sockets = folder, sockets
        ours = {name: value for name, value in os.environ.items() if not name.startswith(("RAY_", "SHADOWSTREAM_"))}
        self.plain = ours | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "RAY_worker_niceness": "0"}
        self.environment = self.plain | TOKEN
        self._running: dict[str, subprocess.Popen[bytes]] = {}
        with closing(socket.create_server(("127.0.0.1", 0))) as free:
            self.address = f"127.0.0.1:{free.getsockname()[1]}"

    def start(self, name: str, *, labels: str = "", cpus: int = 1) -> None:
        """Start a node, the head first; wait until it has joined."""
        folder = self._folder / name
        folder.mkdir()
        joins = ["--address", self.address] if self._running else self._head()
        more = ["--labels", labels] if labels else []
        node = [str(RAY), "start", *joins, "--block", "--num-cpus", str(cpus), "--node-ip-address", "127.0.0.1"]
        ports = ["--min-worker-port", "0", "--max-worker-port", "0", "--object-store-memory", str(100 << 20)]
        log = folder / "log"
        with log.open("wb") as out:
            self._running[name] = subprocess.Popen(
                node + ports + more, cwd=folder, env=self.environment, stdout=out, stderr=out, start_new_session=True
            )
        until(lambda: STARTED in log.read_text() or self._running[name].poll() is not None, log.read_text)
        assert self._running[name].poll() is None, log.read_text()

    def kill(self, name: str) -> None:
        """End all processes of a node at once."""
        node = self._running.pop(name)
        with suppress(ProcessLookupError):
            os.killpg(node.pid, signal.SIGKILL)
        node.wait()

    def end(self) -> None:
        """End all nodes."""
        for name in reversed(list(self._running)):
            self.kill(name)

    def _head(self) -> list[str]:
        port = self.address.rpartition(":")[2]
        return ["--head", "--port", port, "--temp-dir", self._sockets, "--include-dashboard", "false"]


@contextmanager
def nodes(folder: Path) -> Iterator[Nodes]:
    """Yield a cluster without a node, in a folder; leaving the `with` ends its nodes."""
    with TemporaryDirectory(prefix="ray") as sockets:  # a short path: Ray's sockets are below it
        cluster = Nodes(folder, sockets)
        try:
            yield cluster
        finally:
            cluster.end()
