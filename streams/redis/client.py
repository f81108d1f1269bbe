"""The connection: opens one store, the master that Sentinels name, or a cluster.

Owns time limits, retries, TLS, calling scripts by their digest, and the calls that differ on a cluster. Does not know
what keys and scripts are for.
"""

import hashlib
import itertools
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, NamedTuple, Protocol, cast

import redis
from redis.backoff import ConstantBackoff, NoBackoff
from redis.cluster import RedisCluster
from redis.exceptions import NoScriptError
from redis.retry import Retry
from redis.sentinel import Sentinel

from streams.errors import ConfigError
from streams.redis import tls
from streams.redis.address import Address, address
from streams.redis.faults import mapped
from streams.redis.url import URL

CONNECT_S, ANSWER_S = 5.0, 10.0
ARRIVED = b"t"  # of an entry; join.lua writes it
RETRIES, RETRY_S = 3, 0.1  # repeating a step changes nothing: the store knows its token
BLOCK_MS = 5_000  # below ANSWER_S
SLICE_MS = 50  # how long a cluster's `wait` blocks on one stream before it asks all again
GUARD = Path(__file__).with_name("guard.lua").read_text()


class Entry(NamedTuple):
    """One entry of a stream: its ID after the dash, samples by number, and when they arrived; −1: unknown."""

    suffix: str
    samples: list[tuple[int, bytes]]
    arrived_ms: int

    @classmethod
    def of(cls, entry_id: bytes, fields: dict[bytes, bytes]) -> "Entry":
        """Return the entry that join.lua has written."""
        arrived_ms = int(fields.pop(ARRIVED, -1))
        return cls(_suffix(entry_id), [(int(n), body) for n, body in fields.items()], arrived_ms)


class Script(Protocol):
    """A script to call."""

    def __call__(self, *, keys: Sequence[str], args: Sequence[Any] = ()) -> Any:
        """Run it in one atomic step."""


class Client:
    """One store, or the master that Sentinels name. `redis` takes single commands, inside `answering`."""

    def __init__(self, at: Address, answer_s: float = ANSWER_S) -> None:
        """An answer may take `answer_s`; with less than ours, a call is not tried again."""
        self.at, self.answer_s = at, answer_s
        self.redis = self._open()
        self._wake = itertools.count()

    def answering(self) -> AbstractContextManager[None]:
        """Raise the client's errors as ours."""
        return mapped(self.at)

    def script(self, text: str) -> Script:
        """Return a script to call; with ARGV, which all that write have, `guard.lua` runs first.

        A first line `#!lua flags=allow-oom` has it run on a store whose memory is full, too.
        """
        flags = "#!lua flags=allow-oom\n"
        text = flags * text.startswith(flags) + GUARD + text.removeprefix(flags)
        digest = hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()

        def call(*, keys: Sequence[str], args: Sequence[Any] = ()) -> Any:
            try:
                return self.redis.evalsha(digest, len(keys), *keys, *args)
            except NoScriptError:  # a node that has not seen it yet; now it has
                return self.redis.eval(text, len(keys), *keys, *args)

        return call

    def memory(self) -> dict[str, dict[str, Any]]:
        """Return what each primary says of its memory."""
        return {self.at.shown: self.redis.info("memory")}

    def message_bytes(self) -> int | None:
        """Return the largest argument of a command; the right to ask is not one that we need."""
        values = cast("dict[str, str]", self.redis.config_get("proto-max-bulk-len", "client-query-buffer-limit"))
        return min(map(int, values.values()), default=None)

    def entries(self, stream: str, low: str, count: int) -> list[Entry]:
        """Read a stream from an ID on."""
        reply = cast("list[Any]", self.redis.xrange(stream, low, "+", count))
        return [Entry.of(entry_id, dict(zip(fields[::2], fields[1::2], strict=True))) for entry_id, fields in reply]

    def wait(self, after: Mapping[str, str], block_ms: int) -> None:
        """Sleep until one of the streams has an entry after its ID, at most `block_ms` and 5 s."""
        streams: dict[Any, Any] = dict(after)
        self.redis.xread(streams, count=1, block=min(max(block_ms, 1), BLOCK_MS))

    def close(self) -> None:
        """Close the connection."""
        self.redis.close()

    def _open(self) -> redis.Redis:
        options = client_options(self.at, self.answer_s) | {"retry": self._retry()}
        client = self._master(options) if self.at.sentinel else redis.Redis.from_url(str(self.at.url), **options)
        client.set_response_callback("XRANGE", lambda reply, **_: reply)
        return client

    def _retry(self) -> Retry:
        return Retry(ConstantBackoff(RETRY_S), RETRIES) if self.answer_s >= ANSWER_S else Retry(NoBackoff(), 0)

    def _master(self, options: dict[str, Any]) -> redis.Redis:
        user = ("username", "password")
        asking = {key: value for key, value in options.items() if key not in user} | {"retry": Retry(NoBackoff(), 0)}
        asking |= {key: value for key in user if (value := getattr(self.at, f"sentinel_{key}"))}
        sentinels = cast("Any", Sentinel)(self.at.sentinels, sentinel_kwargs=asking, **options)
        return cast("redis.Redis", sentinels.master_for(str(self.at.sentinel_master)))


class ClusterClient(Client):
    """A cluster. Opening it asks a node for the others, so it raises where none answers."""

    def memory(self) -> dict[str, dict[str, Any]]:
        """Return what each primary says of its memory."""
        nodes = cast("Any", self.redis).get_primaries()
        return {node.name: cast("Any", self.redis).info("memory", target_nodes=node) for node in nodes}

    def entries(self, stream: str, low: str, count: int) -> list[Entry]:
        """Read a stream from an ID on."""
        reply = cast("list[Any]", self.redis.xrange(stream, low, "+", count))
        return [Entry.of(entry_id, fields) for entry_id, fields in reply]

    def wait(self, after: Mapping[str, str], block_ms: int) -> None:
        """Sleep until one of the streams has an entry after its ID, at most `block_ms` and 5 s.

        One command cannot wait for streams on several nodes: it asks each, then waits a slice at one of them in turn.
        """
        until = time.monotonic() + min(max(block_ms, 1), BLOCK_MS) / 1_000
        while not any(self.redis.xread({stream: at}, count=1) for stream, at in after.items()):
            left_ms = int((until - time.monotonic()) * 1_000)
            if left_ms <= 0:
                return
            stream = list(after)[next(self._wake) % len(after)]
            if self.redis.xread({stream: after[stream]}, count=1, block=min(left_ms, SLICE_MS)):
                return

    def _open(self) -> redis.Redis:
        with mapped(self.at):
            options = client_options(self.at, self.answer_s) | {"retry": self._retry()}
            return cast("redis.Redis", RedisCluster.from_url(str(self.at.url), **options))


def connect(at: Address | str, answer_s: float = ANSWER_S) -> Client:
    """Open a store, whose answers may take `answer_s`.

    Raises:
        ConfigError: there is no address, or a TLS file does not hold what it should.
        StoreUnreachable, StoreRefused: a cluster does not answer, or refuses us; other stores raise at the first call.
    """
    store = address(at)
    if store.embedded:
        raise ConfigError(f"redis.url must be {URL}; it is not set")
    kind: Callable[[Address, float], Client] = ClusterClient if store.cluster else Client
    return kind(store, answer_s)


def _suffix(entry_id: bytes) -> str:
    return entry_id.partition(b"-")[2].decode()


def client_options(at: Address, answer_s: float = ANSWER_S) -> dict[str, Any]:
    """Return the options that every client takes."""
    options: dict[str, Any] = {"socket_timeout": answer_s, "username": at.username, "password": at.password}
    if not at.local:
        options |= {"socket_connect_timeout": min(CONNECT_S, answer_s), "socket_keepalive": True}
    return {key: value for key, value in options.items() if value is not None} | tls.options(at)
