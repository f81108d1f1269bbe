"""The store: the join's shards and the sample streams, beside the board.

Owns keys and commands. `streams/redis` owns the connection; `join.lua` owns what a step does.
"""

import secrets
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, cast

from streams.errors import HistoryChanged, StoreRefused, TopicGone
from streams.join.board import Board, flat, lua
from streams.join.owner import CLUSTER, TOPIC, check_same, words
from streams.join.step import COUNTERS, PartitionState, ShardState, Step, pack, unpack
from streams.kafka.records import tp_name
from streams.kafka.topics import Owner
from streams.redis import ANSWER_S, Address

FORMAT = "4"
NOTHING = "0-0"  # the stream position before the first sample
PAGE = 512
ENTRY_SAMPLES = 16  # most samples in one entry of a stream; ENTRY in join.lua
CHUNK = 1_000
STATES = {b"w": "prediction", b"h": "prediction with its outcome", b"o": "outcome", b"e": "outcome"}  # in join.lua
MARKED = b"m"  # before the age of a prediction's last mark, a colon, and its state


class StoredSample(NamedTuple):
    """A sample in a shard's stream: its position, "number-chain", and the JSON of a `Sample`.

    The number counts the shard's samples; the chain is that of the step that emitted it. What it is made of had come to
    a joiner at `arrived_ms`, by the store's clock; −1: an older release emitted it.
    """

    position: str
    sample: bytes
    arrived_ms: int = -1


class Waiting(NamedTuple):
    """An id whose window is open until the watermark passes `deadline_ms`; `state` says what came of it."""

    deadline_ms: int
    id: str
    state: str


class Store(Board):
    """One store, by URL or the section [redis]. All calls raise `StoreUnreachable` when nothing answers."""

    def __init__(self, at: Address | str, answer_s: float = ANSWER_S) -> None:
        """An answer may take `answer_s`."""
        super().__init__(at, answer_s)
        made = (self._client.script(lua(name)) for name in ("join", "create", "add", "trim"))
        self._step, self._create, self._add, self._trim = made

    def create(
        self,
        feed: str,
        shards: int,
        tps: Sequence[tuple[str, int]],
        starts: Mapping[tuple[str, int], int] | None = None,
        after: Mapping[int, str] | None = None,
        owner: Owner | None = None,
    ) -> None:
        """Create those of the feed's shards that do not exist, each partition to be read from its start (default 0).

        `after` maps a shard that was lost to the position after which it goes on; its ids must be settled (`settle`).
        Partitions that a shard does not know yet are added to it. `owner` says whose log it is; a shard that does not
        know it yet keeps it.

        Raises:
            StoreRefused: the feed exists with further partitions, another format or another number of shards, or it
                joins another cluster's log.
            LogReplaced: a topic that was read was deleted and created again.
        """
        whose = words(owner)
        begin = {tp_name(tp): (starts or {}).get(tp, 0) for tp in tps}
        want = {"format": FORMAT, "shards": str(shards)}
        for shard in range(shards):
            seq, chain = (after or {}).get(shard, NOTHING).split("-")
            fields: dict[str, Any] = {"seq": seq, "chain": chain, "watermark": 0, "clock": 0}
            fields["trimmed"] = seq
            fields["counters"] = pack(dict.fromkeys(COUNTERS, 0) | {"restored": int(seq)})
            fields |= {f"tp:{tp}": pack(PartitionState(-1, at, -1, 0, at)) for tp, at in begin.items()}
            with self._answering():
                args = [len(whose) * 2, *flat(whose), *flat(want), *flat(fields)]
                fields_ = self._create(keys=self._keys(feed, shard)[:1], args=args)
            now = dict(zip(fields_[::2], fields_[1::2], strict=True))
            check_same(feed, {name: now[name.encode()].decode() for name in whose if name.encode() in now}, whose)
            there = {f: now[f.encode()].decode() for f in want}
            parts = {f[3:].decode() for f in now if f.startswith(b"tp:")}
            if there != want:
                raise StoreRefused(f"feed {feed!r} exists with {there}, not {want}")
            if gone := parts - begin.keys():
                raise StoreRefused(
                    f"feed {feed!r} exists with partitions that its topics do not have: {', '.join(sorted(gone))}; "
                    "a topic was created again with fewer, or topics.* names other topics"
                )
        self.add(feed, shards, tps)

    def check_owner(self, feed: str, owner: Owner) -> None:
        """Check that the feed joins this log; what either side does not know is not compared.

        Raises:
            StoreRefused: it joins another cluster's.
            LogReplaced: a topic that was read was deleted and created again.
            TopicGone: a topic that was read was deleted.
        """
        whose, key = words(owner), self._keys(feed, 0)[0]
        with self._answering():
            values = cast("list[bytes | None]", self._redis.hmget(key, list(whose))) if whose else []
        known = {name: value.decode() for name, value in zip(whose, values, strict=True) if value}
        partitions = self.shard(feed, 0).partitions.items()
        read = {tp.rpartition(":")[0] for tp, at in partitions if at.next != at.start}
        check_same(feed, {f: v for f, v in known.items() if f == CLUSTER or f.removeprefix(TOPIC) in read}, whose)
        if gone := read & set(owner.gone):
            raise TopicGone(
                f"the topic {min(gone)!r} is gone: feed {feed!r} has read it, and the broker has none of it"
            )

    def add(self, feed: str, shards: int, tps: Sequence[tuple[str, int]]) -> None:
        """Add to each shard the partitions that it does not know, to be read from offset 0.

        No further window closes until an added partition has been heard or claimed idle. Shard 0 comes last: what it
        knows, all know.

        Raises:
            StoreRefused: there is no such shard.
        """
        for shard in reversed(range(shards)):
            with self._answering():
                names = [tp_name(tp) for tp in tps]
                self._add(keys=self._keys(feed, shard)[:1], args=[FORMAT, secrets.token_hex(16), *names])

    def partitions(self, feed: str) -> list[tuple[str, int]]:
        """Return the partitions that are joined, as (topic, number)."""
        names = [tp.rpartition(":") for tp in self.shard(feed, 0).partitions]
        return sorted((topic, int(number)) for topic, _, number in names)

    def there(self, feed: str, shard: int) -> bool:
        """Return whether a shard exists."""
        with self._answering():
            return bool(self._redis.hexists(self._keys(feed, shard)[0], "format"))

    def settle(
        self, feed: str, shard: int, position: str, ids: Sequence[tuple[int, str]], marked_until_ms: int = 0
    ) -> None:
        """Settle ids of a lost shard, each until its time, and add its last position, before it is created.

        No mark of before `marked_until_ms` comes again.
        """
        m, e, _, g, s = self._keys(feed, shard)
        with self._answering():
            self._redis.hset(m, "marked_until", marked_until_ms)
            self._redis.ltrim(g, 1, 0)  # empties it: an earlier attempt may have failed half way
            for start in range(0, len(ids), CHUNK):
                part = ids[start : start + CHUNK]
                self._redis.hset(e, mapping={key: "d" for _, key in part})
                self._redis.rpush(g, *(f"{until}:{key}" for until, key in part))
        if not self.holds(feed, shard, position):
            with self._answering():
                self._redis.xadd(s, {position.partition("-")[0]: "{}"}, id=position)

    def step(self, feed: str, shard: int, step: Step) -> ShardState:
        """Apply one step, all of it or nothing; moves that do not start at a partition's next offset are ignored.

        Raises:
            StoreRefused: no such shard, another format, an unknown partition, or an event too far ahead of the store.
        """
        with self._answering():
            return unpack(self._step(keys=self._keys(feed, shard), args=[pack(step)]))

    def shard(self, feed: str, shard: int) -> ShardState:
        """Read a shard, atomically."""
        with self._answering():
            return unpack(self._step(keys=self._keys(feed, shard)))

    def read(self, feed: str, shard: int, after: str, count: int) -> list[StoredSample]:
        """Read up to `count` samples after the position `after`; [] at the end.

        Raises:
            HistoryChanged: the stream no longer holds the sample at `after` (with "0-0": the first sample).
        """
        samples = self._samples(self._keys(feed, shard)[4], int(after.partition("-")[0]), count)
        skipped = next((i + 1 for i, one in enumerate(samples[:ENTRY_SAMPLES]) if one.position == after), 0)
        if after != NOTHING and not skipped:
            raise HistoryChanged(f"{feed}.{shard}: sample {after} is not in the stream any more")
        if after == NOTHING and samples and not samples[0].position.startswith("1-"):
            raise HistoryChanged(f"{feed}.{shard}: the stream starts at {samples[0].position}, not at the first sample")
        return samples[skipped : skipped + count]

    def holds(self, feed: str, shard: int, position: str) -> bool:
        """Return whether the stream still has the sample at a position (at "0-0": all samples from the first on)."""
        try:
            samples = self.read(feed, shard, position, 1)
        except HistoryChanged:
            return False
        return position != NOTHING or bool(samples) or self.shard(feed, shard).seq == 0

    def wait(self, feed: str, after: Mapping[int, str], block_ms: int) -> None:
        """Sleep until a shard (number → position) may have a newer sample, at most `block_ms` and 5 s."""
        with self._answering():
            self._client.wait({self._keys(feed, shard)[4]: at for shard, at in after.items()}, block_ms)

    def trim(self, feed: str, shard: int, upto: str) -> None:
        """Drop the samples before the position `upto`; that one stays, with those that share its entry."""
        if upto == NOTHING:
            return
        with self._answering():
            self._trim(keys=self._keys(feed, shard), args=[upto])

    def close_feed(self, feed: str, shard: int, note: str = "") -> None:
        """End the feed: once the joiners have read everything, their steps close every window."""
        with self._answering():
            added = [f"note:{len(self.notes(feed, shard))}", note] if note else []
            self._redis.hset(self._keys(feed, shard)[0], items=["ending", "1", *added])

    def notes(self, feed: str, shard: int) -> list[str]:
        """Read what operators did to the shard, in order."""
        with self._answering():
            fields = cast("dict[bytes, bytes]", self._redis.hgetall(self._keys(feed, shard)[0]))
        notes = {int(key[5:]): value.decode() for key, value in fields.items() if key.startswith(b"note:")}
        return [notes[number] for number in sorted(notes)]

    def waiting(self, feed: str, shard: int, count: int) -> list[Waiting]:
        """List up to `count` ids that wait for their window to close, in the order in which windows close."""
        _, e, w, *_ = self._keys(feed, shard)
        waiting: list[Waiting] = []
        start = 0
        with self._answering():
            while len(waiting) < count:
                items = cast("list[bytes]", self._redis.lrange(w, start, start + PAGE - 1))
                if not items:
                    break
                start += PAGE
                ids = [item.partition(b":")[2] for item in items]
                entries = cast("list[bytes | None]", self._redis.hmget(e, ids))
                for item, key, entry in zip(items, ids, entries, strict=True):
                    if entry and (state := _state(entry)):
                        waiting.append(Waiting(int(item.partition(b":")[0]), key.decode(), state))
        return waiting[:count]

    def entries(self, feed: str, shard: int, ids: Sequence[str]) -> list[str]:
        """Return those of these ids that the shard has an entry of: it waits, or a marker says that it is done."""
        found: list[str] = []
        with self._answering():
            for start in range(0, len(ids), CHUNK):
                part = ids[start : start + CHUNK]
                values = cast("list[bytes | None]", self._redis.hmget(self._keys(feed, shard)[1], part))
                found += [key for key, value in zip(part, values, strict=True) if value is not None]
        return found

    def _samples(self, stream: str, number: int, count: int) -> list[StoredSample]:
        """Read entries from the one that holds `number` on, until `count` samples follow that one, or to the end."""
        samples: list[StoredSample] = []
        most = count // ENTRY_SAMPLES + 2
        while True:
            with self._answering():
                entries = self._client.entries(stream, f"{number}-0", most)
            samples += [
                StoredSample(f"{n}-{one.suffix}", body, one.arrived_ms) for one in entries for n, body in one.samples
            ]
            if len(entries) < most or len(samples) >= count + ENTRY_SAMPLES:
                return samples
            number = entries[-1].samples[-1][0] + 1

    @staticmethod
    def _keys(feed: str, shard: int) -> list[str]:
        return [f"{{{feed}.{shard}}}:{key}" for key in "mewgs"]


def _state(entry: bytes) -> str | None:
    """Return what waits, None where nothing does."""
    return STATES.get((entry.partition(b":")[2] if entry.startswith(MARKED) else entry)[:1])
