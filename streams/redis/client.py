"""The connection: opens one store, the master that Sentinels name, or a cluster.

Owns time limits, retries, TLS, scripts by their digest, and the calls that a cluster answers otherwise. Does not know
what keys and scripts are for.
"""

import hashlib
import itertools
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Protocol, cast

import redis
from redis.backoff import ConstantBackoff, NoBackoff
from redis.cluster import RedisCluster
from redis.exceptions import NoScriptError
from redis.retry import Retry
from redis.sentinel import Sentinel

from streams.errors import ConfigError
from streams.redis import tls
from streams.redis.address import URL, Address, address
from streams.redis.faults import mapped

CONNECT_S, ANSWER_S = 5.0, 10.0
RETRIES, RETRY_S = 3, 0.1  # a repeated step is harmless: its token and positions tell
BLOCK_MS = 5_000  # below ANSWER_S
SLICE_MS = 50  # how long a cluster's `wait` blocks on one stream before it asks all again
GUARD = Path(__file__).with_name("guard.lua").read_text()

Entry = tuple[str, list[tuple[int, bytes]]]  # of a sample stream: its chain, its samples with their numbers


class Script(Protocol):
    """A script to call."""

    def __call__(self, *, keys: Sequence[str], args: Sequence[Any] = ()) -> Any:
        """Run it in one atomic step."""


class Client:
    """One store, or the master that Sentinels name. `redis` takes single commands, inside `answering`."""

    def __init__(self, at: Address) -> None:
        self.at = at
        self.redis = self._open()
        self._wake = itertools.count()

    def answering(self) -> AbstractContextManager[None]:
        """Raise the client's errors as ours."""
        return mapped(self.at)

    def script(self, text: str) -> Script:
        """Give a script to call; before it writes, the user's rights to all writes are checked (given ARGV)."""
        text = GUARD + text
        digest = hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()

        def call(*, keys: Sequence[str], args: Sequence[Any] = ()) -> Any:
            try:
                return self.redis.evalsha(digest, len(keys), *keys, *args)
            except NoScriptError:  # a node that has not seen it yet; now it has
                return self.redis.eval(text, len(keys), *keys, *args)

        return call

    def policies(self) -> dict[str, str]:
        """Give each primary's maxmemory-policy."""
        return {self.at.shown: self.redis.info("memory").get("maxmemory_policy", "noeviction")}

    def entries(self, stream: str, low: str, count: int) -> list[Entry]:
        """Read a stream from an ID on."""
        reply = cast("list[Any]", self.redis.xrange(stream, low, "+", count))
        return [(_chain(entry), list(zip(map(int, fields[::2]), fields[1::2], strict=True))) for entry, fields in reply]

    def wait(self, after: Mapping[str, str], block_ms: int) -> None:
        """Sleep until one of the streams has an entry behind its ID, at most `block_ms` and 5 s."""
        streams: dict[Any, Any] = dict(after)
        self.redis.xread(streams, count=1, block=min(max(block_ms, 1), BLOCK_MS))

    def close(self) -> None:
        """Let the client go."""
        self.redis.close()

    def _open(self) -> redis.Redis:
        given = settings(self.at) | {"retry": Retry(ConstantBackoff(RETRY_S), RETRIES)}
        made = self._master(given) if self.at.sentinel else redis.Redis.from_url(str(self.at.url), **given)
        made.set_response_callback("XRANGE", lambda reply, **_: reply)
        return made

    def _master(self, given: dict[str, Any]) -> redis.Redis:
        own = ("username", "password")
        theirs = {key: value for key, value in given.items() if key not in own} | {"retry": Retry(NoBackoff(), 0)}
        theirs |= {key: value for key in own if (value := getattr(self.at, f"sentinel_{key}"))}
        sentinels = [(host, int(port)) for host, port in self.at.sentinels]
        found = cast("Any", Sentinel)(sentinels, sentinel_kwargs=theirs, **given)
        return cast("redis.Redis", found.master_for(str(self.at.sentinel_master)))


class ClusterClient(Client):
    """A cluster. Opening it asks a node for the others, so that it raises where nothing answers."""

    def policies(self) -> dict[str, str]:
        """Give each primary's maxmemory-policy."""
        nodes = cast("Any", self.redis).get_primaries()
        return {
            node.name: cast("Any", self.redis).info("memory", target_nodes=node).get("maxmemory_policy", "noeviction")
            for node in nodes
        }

    def entries(self, stream: str, low: str, count: int) -> list[Entry]:
        """Read a stream from an ID on."""
        reply = cast("list[Any]", self.redis.xrange(stream, low, "+", count))
        return [(_chain(entry), [(int(n), body) for n, body in fields.items()]) for entry, fields in reply]

    def wait(self, after: Mapping[str, str], block_ms: int) -> None:
        """Sleep until one of the streams has an entry behind its ID, at most `block_ms` and 5 s.

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
            retry = Retry(ConstantBackoff(RETRY_S), RETRIES)
            return cast("redis.Redis", RedisCluster.from_url(str(self.at.url), retry=retry, **settings(self.at)))


def connect(at: Address | str) -> Client:
    """Open a store.

    Raises:
        ConfigError: the url or a TLS file is not what it should be, or there is no address.
        StoreUnreachable, StoreRefused: a cluster cannot be had; the others are asked by the first call.
    """
    place = address(at)
    if place.embedded:
        raise ConfigError(f"redis.url must be {URL}; it is not set")
    kind: Callable[[Address], Client] = ClusterClient if place.cluster else Client
    try:
        return kind(place)
    except ValueError:  # its text may hold a part of the password
        raise ConfigError(
            f"redis.url must be {URL}, with /, #, ? and @ of a password written as %2F, %23, %3F and %40; "
            "what was found is not shown"
        ) from None


def _chain(entry: bytes) -> str:
    return entry.partition(b"-")[2].decode()


def settings(at: Address) -> dict[str, Any]:
    """Give what every client takes."""
    given: dict[str, Any] = {
        "socket_connect_timeout": CONNECT_S,
        "socket_timeout": ANSWER_S,
        "socket_keepalive": True,
        "username": at.username,
        "password": at.password,
    }
    return {key: value for key, value in given.items() if value is not None} | tls.options(at)
