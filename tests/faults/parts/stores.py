"""The store of a fault run: one server with a proxy before it, or a cluster of three; what can be done to each.

Owns servers and the proxy before them. Does not know what they hold, except the slots of a feed's shards.
"""

import os
from collections.abc import Callable
from pathlib import Path
from random import Random

from streams.redis import Address
from tests.faults.parts.proxy import Proxy
from tests.services.redis import Cluster, Server, identity, slot, until


class One:
    """One server; a lagging replica can take its place."""

    def __init__(self, kind: str, folder: Path) -> None:
        self.kind, self._folder, self._replicas = kind, folder, 0
        self.server = self._server()
        self.proxy = Proxy(self.server.port)
        self.address = Address(url=f"redis://127.0.0.1:{self.proxy.port}/0")

    @property
    def direct(self) -> Address:
        """Its address without the proxy."""
        return self.server.address

    @property
    def servers(self) -> list[Server]:
        """All servers."""
        return [self.server]

    def fail_over(self, lagging: Callable[[], None]) -> None:
        """Let a replica take over that missed what happened during `lagging`."""
        replica, master = self._server(), self.server
        replica.run("REPLICAOF", "127.0.0.1", master.port)
        until(lambda: replica.redis.info("replication").get("master_link_status") == "up")
        until(lambda: not replica.redis.info("persistence")["aof_rewrite_in_progress"])
        replica.run("REPLICAOF", "NO", "ONE")
        lagging()
        master.kill()
        master.stop()
        self.server = replica
        self.proxy.lead(replica.port)

    def drop(self, feed: str, shard: int) -> None:
        """Delete a shard, as an operator does with one that the store refuses as broken."""
        drop(self.server, feed, shard)

    def stop(self) -> None:
        """Stop it."""
        self.proxy.close()
        self.server.stop()

    def _server(self) -> Server:
        self._replicas += 1
        folder = self._folder / f"store-{self._replicas}"
        folder.mkdir(parents=True)
        return Server(self.kind, folder, "--repl-diskless-sync-delay", "0")


class Three(Cluster):
    """A cluster of three nodes."""

    @property
    def direct(self) -> Address:
        """Its address."""
        return self.address

    @property
    def servers(self) -> list[Server]:
        """All servers."""
        return self.nodes

    def migrate(self, feed: str, shard: int, random: Random) -> None:
        """Move a shard's slot to another node, key by key, while it is used."""
        number, source = slot(feed, shard), self.node_of(feed, shard)
        target = random.choice([node for node in self.nodes if node is not source])
        target.run("CLUSTER SETSLOT", number, "IMPORTING", identity(source))
        source.run("CLUSTER SETSLOT", number, "MIGRATING", identity(target))
        while keys := source.run("CLUSTER GETKEYSINSLOT", number, 1):
            source.run("MIGRATE", "127.0.0.1", target.port, keys[0], 0, 60_000, "REPLACE")  # a torn log left one there
        for node in (target, source, *self.nodes):
            node.run("CLUSTER SETSLOT", number, "NODE", identity(target))

    def drop(self, feed: str, shard: int) -> None:
        """Delete a shard, as an operator does with one that the store refuses as broken."""
        self.ready()
        drop(self.node_of(feed, shard), feed, shard)


Stores = One | Three


def drop(server: Server, feed: str, shard: int) -> None:
    """Delete a shard's keys."""
    server.redis.delete(*(f"{{{feed}.{shard}}}:{key}" for key in "mewgs"))


def cut(server: Server, random: Random) -> None:
    """SIGKILL a server, cut its log at any byte, and start it again: acknowledged writes are gone."""
    server.kill()
    log = max((server.folder / "store").rglob("*.incr.aof"), key=lambda path: path.stat().st_mtime)
    size = log.stat().st_size
    os.truncate(log, max(size - random.randrange(1, 300_000), size // 2))
    server.start()
