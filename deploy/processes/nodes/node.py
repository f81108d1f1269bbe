"""Ray's own processes: starts them on this machine or joins a cluster, sees whether ours are alive, and ends them.

Owns Ray's start and end, and what a cluster must be to be joined. Does not know what roles do.
"""

import logging
import os
import signal
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from importlib import import_module
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import IO, Any

import ray
from ray._private import worker
from ray.exceptions import AuthenticationError

from deploy.config import Settings
from deploy.processes.failures import brief
from deploy.processes.nodes import cluster
from deploy.processes.nodes.code import pack
from deploy.processes.nodes.enough import Offered, check
from deploy.processes.nodes.remains import Remains
from streams.errors import ConfigError, RayUnreachable, ShadowstreamError

ENDING = "ray.dag.compiled_dag_node"  # ray.shutdown imports it, for a second, in which a user would wait
START_TRIES, TIMED_OUT = 5, "timed out during startup"
NEEDED = ("gcs_server", "raylet")  # Ray's others only show and log
STDERR = 2
LOG = "services/ray.log"  # in the feed's folder: what Ray says while it is begun anew
NAMESPACE = "shadowstream"  # of the names of actors
Say = Callable[[str], None]
LOCAL: dict[str, Any] = {
    "include_dashboard": False,
    "object_store_memory": 100 << 20,  # bytes; no event or model goes through Ray
    "_system_config": {"worker_niceness": 0},  # at Ray's 15, any other busy process starves the actors
}


class Node:
    """Ray, at `address` or, where it is None, on this machine; `folder` is this machine's part of the feed.

    `code` is a zip file, which processes on a cluster's nodes have in their working directories.
    """

    def __init__(self, address: str | None, folder: Path, code: Path | None = None) -> None:
        self._address, self._log, self._code = address, folder / LOG, code
        self._remains = Remains(folder)
        self._head: cluster.Head | None = None

    @property
    def ours(self) -> bool:
        """Whether Ray is on this machine, and ends with us."""
        return self._address is None

    def begin(self) -> None:
        """Start Ray, or join the cluster; what an earlier driver of the feed has left of one on this machine is ended.

        Raises:
            RayUnreachable, ConfigError: it does not work; the text has Ray's reason and what to do.
        """
        if self.ours:
            self._remains.clear()
        start(self._address, self._code)
        if self.ours and (node := worker._global_node):
            pids = [one.process.pid for of in node.all_processes.values() for one in of]
            self._remains.begun(node.get_session_dir_path(), pids)
        threading.Thread(target=import_module, args=(ENDING,), daemon=True).start()

    @property
    def gone(self) -> str:
        """Which process of Ray that it cannot do without has ended; "" while all are there, and for a cluster's."""
        node = worker._global_node  # Ray tells of the end of one only later, or not at all
        dead = {kind for kind, _ in node.dead_processes()} if node and self.ours else set()
        return next((kind for kind in NEEDED if kind in dead), "")

    def watch(self) -> None:
        """Have a cluster's head asked whether it is there, until `end`."""
        self._head = cluster.Head(ray.get_runtime_context().gcs_address)

    @property
    def trouble(self) -> str:
        """What people must know of a cluster's head, "" while it answers."""
        return self._head.trouble if self._head else ""

    def answers(self) -> bool:
        """Return whether a role can be begun: without a cluster's head that call would not come back."""
        return self._head is None or self._head.answers()

    def check(self) -> None:
        """Check that a cluster's head is there.

        Raises:
            RayUnreachable: it has not answered for long, and all ends without it.
        """
        if self._head:
            self._head.check()

    def end(self) -> None:
        """End Ray, and take its files away, or leave the cluster."""
        if self._head:
            self._head.end()
        ray.shutdown()
        if self.ours:
            self._remains.ended()

    def end_broken(self, pids: list[int]) -> None:
        """End a Ray of ours of which a part is gone, and these processes of its actors, none of which may go on."""
        node = worker._global_node
        for pid in pids:
            with suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
        for processes in list(node.all_processes.values()) if node else []:
            for one in processes:
                one.process.kill()
        with _said_to(self._log):
            ray.shutdown()


@contextmanager
def joined(settings: Settings, pipeline: Path, roles: Sequence[str], folder: Path, say: Say) -> Iterator[Node]:
    """Join the cluster that the settings name, with the code of a pipeline, for the `with`.

    `folder` is this machine's part of the feed.

    Raises:
        RayUnreachable: it does not answer.
        ConfigError: it asks nobody for a token, or roles could not work on its nodes.
    """
    with TemporaryDirectory(prefix="shadowstream-") as temporary:
        zipped = Path(temporary) / "pipeline.zip"
        large = pack(pipeline, zipped, (folder, folder.parent, Path(settings.output.path)))
        node = Node(settings.ray.cluster, folder, zipped)
        node.begin()
    try:
        _check(settings, roles, say)
        if large:
            say(f"not sent to its nodes, because it is large: {', '.join(large)}")
        node.watch()
        yield node
    finally:
        node.end()


@contextmanager
def visited(settings: Settings) -> Iterator[None]:
    """Join the cluster that the settings name for the `with`, to look at what is there.

    Raises:
        RayUnreachable: it does not answer.
    """
    start(settings.ray.cluster)
    try:
        yield
    finally:
        ray.shutdown()


def within(settings: Settings, roles: Sequence[str], folder: Path, say: Say) -> Node:
    """Return the cluster of which this process is an actor.

    Raises:
        ConfigError: as in `joined`.
    """
    _check(settings, roles, say)
    return Node(settings.ray.cluster, folder)


def _check(settings: Settings, roles: Sequence[str], say: Say) -> None:
    """Check that a cluster asks for a token, and that roles can work on its nodes."""
    if not settings.ray.insecure and cluster.open_to_all(ray.get_runtime_context().gcs_address):
        raise ConfigError(
            f"the Ray cluster at {settings.ray.cluster} asks nobody for a token, so whoever reaches its ports can "
            "run code on it: start all its nodes with RAY_AUTH_MODE=token and RAY_AUTH_TOKEN, or set ray.insecure "
            "= true where nobody else reaches them"
        )
    nodes = [Offered.of(one) for one in ray.nodes() if one["Alive"]]
    check(settings, roles, nodes)
    at = ", ".join(f"{host} ({count})" for host, count in Counter(node.host for node in nodes).items())
    say(f"joined the Ray cluster at {settings.ray.cluster}; its nodes: {at}")


def start(address: str | None, code: Path | None = None) -> None:
    """Connect to the cluster at `address`, or start a local one; Ray gives that 30 s, which a busy machine may pass.

    Raises:
        RayUnreachable, ConfigError: it does not work; the text has Ray's reason and what to do.
    """
    if address is not None:
        cluster.check(address)
    more: dict[str, Any] = LOCAL if address is None else {"runtime_env": {"working_dir": str(code)}} if code else {}
    for left in reversed(range(START_TRIES)):
        try:
            with _own_signals():
                ray.init(address=address or "local", namespace=NAMESPACE, logging_level=logging.ERROR, **more)
            return
        except (Exception, SystemExit) as wrong:  # Ray raises the bare class here
            if not left or TIMED_OUT not in str(wrong):
                raise _not_started(wrong, address) from wrong


@contextmanager
def _own_signals() -> Iterator[None]:
    """Keep our handler of SIGTERM, for which Ray puts its own."""
    before = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, before)


def _not_started(wrong: BaseException, address: str | None) -> ShadowstreamError:
    if "AF_UNIX path length" in str(wrong):
        return ConfigError(
            "Ray's folder has too long a path for its sockets; set the variable RAY_TMPDIR to a short one, such as /tmp"
        )
    if address is not None and (_asks_for_token(wrong) or _asks_for_token(wrong.__cause__)):
        return ConfigError(
            f"the Ray cluster at {address} (ray.address) asks for a token, and ours is another or none: set the "
            "variables RAY_AUTH_MODE=token and RAY_AUTH_TOKEN (or RAY_AUTH_TOKEN_PATH, a file) as its nodes have them"
        )
    if address is not None:
        return RayUnreachable(f"no Ray cluster can be joined at {address} (ray.address): {brief(wrong)}")
    return RayUnreachable(
        f"Ray does not start on this machine: {brief(wrong)}; its logs are in /tmp/ray/session_latest"
    )


def _asks_for_token(wrong: BaseException | None) -> bool:
    return isinstance(wrong, AuthenticationError) or "InvalidAuthToken" in str(wrong)


@contextmanager
def _said_to(path: Path) -> Iterator[None]:
    """Have what Ray's C++ writes to our standard error go to a file: many lines, about calls that cannot end."""
    before = os.dup(STDERR)
    with _appended(path) as log:
        os.dup2(log.fileno(), STDERR)
    try:
        yield
    finally:
        os.dup2(before, STDERR)
        os.close(before)


def _appended(path: Path) -> IO[bytes]:
    """Open a file to append to it, or what keeps nothing: a disk that is full ends no run."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        return path.open("ab")
    except OSError:
        return Path(os.devnull).open("ab")
