"""Redis-protocol servers of a test's own: one, a cluster of three, or a master with a replica under a Sentinel.

`kind` is "valkey", the embedded binary, or "redis": the command of `SHADOWSTREAM_TEST_REDIS_CMD`, called as
`CMD DATA_DIR PORT --setting value ...`. Each can be killed, started again on its port, and put back in time.
"""

import shlex
import shutil
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import psutil
from redis import Redis
from redis.crc import key_slot
from redis.exceptions import RedisError

from deploy.embedded.programs import STORE
from deploy.embedded.servers import free_port, start
from streams.redis import Address
from tests.conftest import command

VARIABLE = "SHADOWSTREAM_TEST_REDIS_CMD"
PATIENCE_S = 300.0  # against a hang alone
SLOTS = 16_384


def until(holds: Callable[[], object]) -> None:
    """Wait until something holds; while a server does not answer it does not."""
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        try:
            if holds():
                return
        except RedisError:
            pass
        time.sleep(0.05)
    raise AssertionError("it did not come")


class Server:
    """One server in `folder`, running; `settings` are words of its command line."""

    def __init__(self, kind: str, folder: Path, *settings: str) -> None:
        self.kind, self.folder, self.port = kind, folder, free_port()
        configured = command(VARIABLE, "external" if kind == "redis" else "embedded")
        first = (lambda data, port: [*shlex.split(configured), str(data), str(port)]) if configured else STORE.command
        self._program = replace(STORE, command=lambda data, port: [*first(data, port), *settings])
        self.redis = Redis(port=self.port)
        self.start()

    @property
    def address(self) -> Address:
        return Address(url=f"redis://127.0.0.1:{self.port}/0")

    @property
    def processes(self) -> list[psutil.Process]:
        return psutil.Process(self._service.pid).children(recursive=True)

    @property
    def nodes(self) -> "list[Server]":
        return [self]

    def node_of(self, feed: str, shard: int) -> "Server":
        return self

    def run(self, *words: str | bytes | int) -> Any:
        """Run a command that the client has no function for."""
        return cast("Any", self.redis).execute_command(*words)

    def ready(self) -> None:
        """Wait until it takes commands."""
        until(self.redis.ping)

    def start(self) -> None:
        """Start it, again on the same port and data."""
        self._service = start(self._program, self.folder, self.port)

    def kill(self) -> None:
        """Kill it, as a crash would."""
        self._service.kill()

    def stop(self) -> None:
        self.redis.close()
        self._service.stop()

    def back(self, between: Callable[[], None]) -> None:
        """Do `between`, then go back to before it, as a restored backup would; the append-only file is always whole."""
        then = self.folder / "then"
        shutil.copytree(self.folder / "store", then)
        between()
        self.kill()
        shutil.rmtree(self.folder / "store")
        then.rename(self.folder / "store")
        self.start()


class Cluster:
    """Three nodes, a third of the slots each."""

    def __init__(self, kind: str, folder: Path) -> None:
        self.kind = kind
        self._undo = ExitStack()
        self._bus: dict[int, int] = {}  # by port
        self.nodes = [self._add(folder / str(number)) for number in range(3)]
        for number, node in enumerate(self.nodes):
            low, high = number * SLOTS // 3, (number + 1) * SLOTS // 3 - 1
            node.run("CLUSTER ADDSLOTSRANGE", low, high)
            node.run("CLUSTER SET-CONFIG-EPOCH", number + 1)
            bus = self._bus[self.nodes[0].port]
            node.run("CLUSTER MEET", "127.0.0.1", self.nodes[0].port, bus)
        self.ready()

    def _add(self, folder: Path) -> Server:
        folder.mkdir(parents=True)
        bus = free_port()
        words = f"--cluster-enabled yes --cluster-node-timeout 1000 --repl-diskless-sync-delay 0 --cluster-port {bus}"
        node = Server(self.kind, folder, *words.split())
        self._bus[node.port] = bus
        self._undo.callback(node.stop)
        return node

    @property
    def address(self) -> Address:
        return Address(url=f"redis://127.0.0.1:{self.nodes[0].port}", cluster=True)

    def node_of(self, feed: str, shard: int) -> Server:
        """Return the node that holds a shard now."""
        port = self._port(slot(feed, shard))
        return next(node for node in self.nodes if node.port == port)

    def ready(self) -> None:
        """Wait until all nodes agree that all is well."""
        for node in self.nodes:
            until(lambda n=node: self._well(n))  # type: ignore[misc]

    def replica(self, folder: Path, of: Server) -> Server:
        """Add a node that follows another, and wait until it does."""
        node = self._add(folder)
        until(node.redis.ping)
        node.run("CLUSTER MEET", "127.0.0.1", of.port, self._bus[of.port])
        name = identity(of)
        until(lambda: node.run("CLUSTER REPLICATE", name))
        until(lambda: node.redis.info("replication").get("master_link_status") == "up")
        self.nodes.append(node)
        self.ready()
        return node

    def stop(self) -> None:
        self._undo.close()

    def _well(self, node: Server) -> bool:
        info = node.run("CLUSTER INFO")
        text = info if isinstance(info, dict) else dict(line.split(":") for line in info.decode().split())
        return text["cluster_state"] == "ok" and int(text["cluster_known_nodes"]) == len(self.nodes)

    def _port(self, number: int) -> int:
        ranges = self.nodes[0].run("CLUSTER SLOTS")
        return next(int(primary[1]) for low, high, primary, *_ in ranges if low <= number <= high)


class Watched:
    """A master and its replica under one Sentinel, which knows them as "orders"; `words` go into its configuration."""

    def __init__(self, kind: str, folder: Path, *words: str) -> None:
        self._undo = ExitStack()
        self.master = self._server(kind, folder / "master", "--repl-diskless-sync-delay", "0")
        self.replica = self._server(kind, folder / "replica", "--replicaof", "127.0.0.1", str(self.master.port))
        until(lambda: self.replica.redis.info("replication")["master_link_status"] == "up")
        self.sentinel_port = free_port()
        at = folder / "sentinel"
        at.mkdir()
        lines = [f"port {self.sentinel_port}", f"sentinel monitor orders 127.0.0.1 {self.master.port} 1"]
        lines += ["sentinel down-after-milliseconds orders 500", "sentinel failover-timeout orders 2000", *words]
        (at / "sentinel.conf").write_text("\n".join(lines) + "\n")
        binary = STORE.command(at, 0)[0]
        program = replace(
            STORE, command=lambda _, __: [binary, str(at / "sentinel.conf"), "--sentinel"], answer=b"\r\n"
        )
        self._undo.callback(start(program, at, self.sentinel_port).stop)

    def _server(self, kind: str, folder: Path, *settings: str) -> Server:
        folder.mkdir(parents=True)
        server = Server(kind, folder, *settings)
        self._undo.callback(server.stop)
        return server

    @property
    def address(self) -> Address:
        return Address(sentinel=f"127.0.0.1:1,127.0.0.1:{self.sentinel_port}", sentinel_master="orders")

    def stop(self) -> None:
        self._undo.close()


Place = Server | Cluster


def slot(feed: str, shard: int) -> int:
    """Return the slot of a shard's keys."""
    return int(key_slot(f"{feed}.{shard}".encode()))


def identity(node: Server) -> str:
    """Return a cluster node's own name."""
    said = node.run("CLUSTER MYID")
    return said.decode() if isinstance(said, bytes) else str(said)
