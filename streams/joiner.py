"""The joiner: Kafka's records into the store's steps.

Owns the order of things: poll, decode, dead letters acknowledged, one step per shard, and where to seek to. Owns no
state that cannot be read again from the store. Knows neither client library nor what a step does inside.
"""

import secrets
import time
from collections.abc import Callable

from streams.batch import Batch, Readers, cut, decode, fill
from streams.dead import DeadLetters
from streams.errors import LogReplaced, LostRange
from streams.kafka import Sink, Source, Tp, crc
from streams.policy import JoinPolicy
from streams.step import Move, Position, ShardState, Step
from streams.store import Store, name


class Joiner:
    """Joins one feed. After any exception it is thrown away, its source too, and a fresh one goes on.

    Raises, from the constructor and from `step`:
        LogReplaced, LostRange: log and store disagree; an operator must look.
    """

    def __init__(
        self,
        feed: str,
        policy: JoinPolicy,
        source: Source,
        store: Store,
        sink: Sink,
        readers: Readers,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._feed, self._policy, self._readers, self._clock = feed, policy, readers, clock
        self._source, self._store, self._dead = source, store, DeadLetters(sink, readers.dead_letters)
        self._heard = dict.fromkeys(source.tps, clock())
        self._paused: set[Tp] = set()
        self._shards: list[ShardState] = []
        self._look()
        for tp in source.tps:
            self._stand(tp)

    @property
    def shards(self) -> list[ShardState]:
        """Every shard as the last step left it."""
        return self._shards

    def step(self, timeout_ms: int) -> int:
        """Handle what one poll brings; give the number of records. With nothing there, wait up to `timeout_ms`."""
        self._steer()
        due = any(shard.due for shard in self._shards)
        polled = self._source.poll(0 if due else timeout_ms, self._policy.batch_events)
        now = self._clock()
        self._heard.update((p.tp, now) for p in polled)
        for part in cut(polled, self._policy.batch_bytes):
            latest = self._now_ms() + round(self._policy.max_ahead_s * 1_000)
            self._apply([decode(p, self._readers, self._policy.shards, latest) for p in part])
        if not polled:
            self._rest()
        for tp in self._source.tps:
            if self._target(tp) != self._source.position(tp):
                self._stand(tp)
        return sum(len(p.records) for p in polled)

    def _apply(self, batches: list[Batch]) -> None:
        self._dead.send([letter for batch in batches for letter in batch.letters])
        for shard in range(self._policy.shards):
            step = self._blank()
            for batch in batches:
                fill(step, shard, batch, self._position(shard, batch.polled.tp).next)
            step.moves += self._idle(shard, {batch.polled.tp for batch in batches})
            if step.moves:
                self._call(shard, step)

    def _rest(self) -> None:
        """Without records: claim idle partitions, go on closing and dropping, or merely look."""
        ended = all(shard.ending for shard in self._shards) and all(map(self._source.at_end, self._source.tps))
        for shard in range(self._policy.shards):
            step = self._blank()
            step.closing = int(ended)
            step.moves = [] if ended else self._idle(shard, set())
            self._call(shard, step)

    def _idle(self, shard: int, moved: set[Tp]) -> list[Move]:
        """Claim the partitions that have been silent for `idle_s` and whose end the broker has just confirmed."""
        since = self._clock() - self._policy.idle_s
        silent = [tp for tp in self._source.tps if tp not in moved | self._paused and self._heard[tp] <= since]
        at = {tp: self._position(shard, tp).next for tp in silent if self._source.at_end(tp)}
        return [Move(name(tp), n, n, idle=1) for tp, n in at.items() if n == self._source.position(tp)]

    def _steer(self) -> None:
        """Pause what is more than `align_s` ahead of the watermark, and all while the samples are too many."""
        full = any(shard.unread > self._policy.stream_bound for shard in self._shards)
        pause = {tp for tp in self._source.tps if full or self._ahead(tp)}
        self._source.pause(pause - self._paused)
        self._source.resume(self._paused - pause)
        self._paused = pause

    def _ahead(self, tp: Tp) -> bool:
        """Whether a partition leads; nobody does before all have been heard and the watermark has risen."""
        lead_ms = max(s.positions[name(tp)].t_ms - s.watermark_ms if s.watermark_ms else 0 for s in self._shards)
        return lead_ms > (self._policy.align_s + self._policy.slack_s) * 1_000

    def _stand(self, tp: Tp) -> None:
        """Seek to where the hindmost shard stands, after rereading the record before it."""
        start, end = self._source.starts()[tp], self._source.ends()[tp]
        for shard in range(self._policy.shards):
            self._verify(tp, self._position(shard, tp), start, end)
        self._source.seek(tp, self._target(tp))

    def _verify(self, tp: Tp, at: Position, start: int, end: int) -> None:
        where = f"{tp.topic}/{tp.partition}"
        if end < at.next:
            raise LogReplaced(f"{where}: the next offset is {at.next}, but the log ends at {end}")
        if start > at.next:
            raise LostRange(f"{where}: the next offset is {at.next}, but the log starts at {start}")
        if at.last >= start:
            record = self._source.read(tp, at.last)
            if record is None or crc(record) != at.crc:
                raise LogReplaced(f"{where}: offset {at.last} holds another record than the one that was read")

    def _blank(self) -> Step:
        p = self._policy
        window, keep, slack, ahead = (round(s * 1_000) for s in (p.window_s, p.keep_s, p.slack_s, p.max_ahead_s))
        return Step(secrets.token_hex(16), window, keep, slack, ahead)

    def _call(self, shard: int, step: Step) -> None:
        self._shards[shard] = self._store.step(self._feed, shard, step)
        self._answered = self._clock()

    def _look(self) -> None:
        self._shards = [self._store.shard(self._feed, shard) for shard in range(self._policy.shards)]
        self._answered = self._clock()

    def _now_ms(self) -> int:
        """Give the store's clock, at least: its last word plus what has passed since."""
        return max(shard.now_ms for shard in self._shards) + int((self._clock() - self._answered) * 1_000)

    def _position(self, shard: int, tp: Tp) -> Position:
        return self._shards[shard].positions[name(tp)]

    def _target(self, tp: Tp) -> int:
        return min(self._position(shard, tp).next for shard in range(self._policy.shards))
