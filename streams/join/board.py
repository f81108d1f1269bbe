"""The board: what a feed's roles tell one another and may be lost, and which run has the feed.

Owns the connection to the store, what a store must be, and the board's key. Does not know shards.
"""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple, cast

from streams.errors import ShadowstreamError, StoreRefused
from streams.join.bell import Bell
from streams.redis import ANSWER_S, Address, connect


class Rival(NamedTuple):
    """Another run that has the feed: its note, and how long ago it was written, by the store's clock."""

    note: bytes
    age_ms: int


class Board:
    """The board of one store, by URL or the section [redis]."""

    def __init__(self, at: Address | str, answer_s: float = ANSWER_S) -> None:
        """An answer may take `answer_s`."""
        self._client = connect(at, answer_s)
        self._redis, self._answering = self._client.redis, self._client.answering
        self._bells = dict[tuple[str, ...], Bell]()
        self._claim, self._put = (self._client.script(lua(name)) for name in ("claim", "put"))

    def check(self) -> list[str]:
        """Check that the store answers and never evicts; return a warning for each node whose memory is full.

        Raises:
            StoreRefused: its `maxmemory-policy` is not `noeviction`.
        """
        with self._answering():
            memory = self._client.memory()
        for node, has in memory.items():
            if (policy := has.get("maxmemory_policy", "noeviction")) != "noeviction":
                raise StoreRefused(f"{node}: maxmemory-policy is {policy}; it must be noeviction, or samples are lost")
        full = {node: has for node, has in memory.items() if 0 < has.get("maxmemory", 0) <= has.get("used_memory", 0)}
        return [
            f"the store {node} is full ({has['used_memory']:,} of {has['maxmemory']:,} bytes): nothing is joined until "
            "there is room; raise its maxmemory"
            for node, has in full.items()
        ]

    def message_bytes(self) -> int | None:
        """Ask for the largest message that the store takes; None where it does not say, or not to us."""
        with suppress(ShadowstreamError), self._answering():
            return self._client.message_bytes()
        return None

    def now_ms(self) -> int:
        """Return the store's clock, in milliseconds since 1970."""
        with self._answering():
            seconds, micros = self._redis.time()
        return seconds * 1_000 + micros // 1_000

    def put(self, feed: str, values: Mapping[str, bytes]) -> None:
        """Write values to the board, which holds only what may be lost; wake who waits for them."""
        with self._answering():
            self._put(keys=[_board(feed)], args=flat(values))

    def ring(self, feed: str, name: str) -> None:
        """Wake who waits for a value, ahead of the value; a user who may not publish wakes nobody."""
        with suppress(ShadowstreamError), self._answering():
            self._redis.publish(_board(feed), name)

    def doze(self, feed: str, names: Sequence[str], block_ms: float) -> bool:
        """Sleep until one of these values was put since the last call, at most `block_ms`; return whether one may be.

        The first call returns at once.
        """
        bell = self._bells.get((feed, *names))
        if bell is None:
            bell = self._bells[feed, *names] = Bell(self._client, _board(feed), names)
        return bell.wait(block_ms)

    def get(self, feed: str, *names: str) -> list[bytes | None]:
        """Read values from the board."""
        with self._answering():
            return cast("list[bytes | None]", self._redis.hmget(_board(feed), names))

    def drop(self, feed: str, names: Sequence[str]) -> None:
        """Take values from the board."""
        with self._answering():
            self._redis.hdel(_board(feed), *names)

    def claim(self, feed: str, token: str, note: bytes, counts_ms: int, *, take: bool = False) -> Rival | None:
        """Note on the board that the run `token` has the feed, for `counts_ms` by the store's clock.

        Returns the rival whose note still counts, and then changes nothing; with `take` there is none.
        """
        with self._answering():
            there = self._claim(keys=[_board(feed)], args=[token, note, counts_ms, "take" if take else "keep"])
        return None if there is None else Rival(*there)

    def leave(self, feed: str, token: str) -> None:
        """Take our own note from the board."""
        with self._answering():
            self._claim(keys=[_board(feed)], args=[token, b"", 0, "leave"])

    def close(self) -> None:
        """Close the client."""
        self._client.close()


def _board(feed: str) -> str:
    return f"{{{feed}}}:board"


def lua(name: str) -> str:
    """Return the text of a script, which is a file of this folder."""
    return Path(__file__).with_name(f"{name}.lua").read_text()


def flat(fields: Mapping[str, Any]) -> list[Any]:
    """Return names and values in turn."""
    return [word for pair in fields.items() for word in pair]
