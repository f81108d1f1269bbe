"""The joiner: Kafka's records into the store's steps.

Owns the order: poll, decode, have the dead letters acknowledged, send one step per shard, seek. While broker and store
take one batch, the next is polled and decoded. Owns no state that cannot be read again from the store. Knows neither
the client libraries nor what a step does inside.
"""

import secrets
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

from streams.dead.letters import Letter
from streams.dead.limit import QUIET_S, SUM_S, UNLIMITED, DeadLetters
from streams.errors import LogReplaced, LostRange, StoreWentBack
from streams.join.batch import Batch, Readers, cut, decode, fill, first_times
from streams.join.dates import FIRST, add
from streams.join.policy import JoinPolicy
from streams.join.step import Move, PartitionState, Rules, ShardState, Step
from streams.join.store import Store
from streams.kafka import Sink, Source, Tp, crc
from streams.kafka.records import tp_name

MOST_THREADS = 16  # steps of different shards in flight at the same time
ASK_EVERY_S = 1.0  # for the ages at which predictions are marked
Ages = Callable[[], Sequence[int] | None]
Quiet = Callable[[Tp], float | None]


class Joiner:
    """Joins the partitions of a feed that its source reads; joiners with other partitions may share the feed.

    After any exception discard it and its source; a new one goes on from the store. `ages_ms` returns the ages, in
    milliseconds, at which a prediction that still waits is marked, or None for the same as before; without it there are
    no marks. `quiet` returns when, by `time.monotonic`, it was seen that no record of a partition was still owed by who
    writes it, or None while one is: such a silence is not idleness.

    Raises, from the constructor and from `step`:
        LogReplaced, LostRange: log and store disagree; an operator must look.
        StoreWentBack: the store went back to before a partition of the source was added.
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
        letters_per_minute: int = UNLIMITED,
        ages_ms: Ages | None = None,
        quiet: Quiet = lambda tp: 0.0,
    ) -> None:
        self._feed, self._policy, self._readers, self._clock = feed, policy, readers, clock
        self._source, self._store, self._quiet = source, store, quiet
        self._dead = DeadLetters(sink, readers.dead_letters, letters_per_minute, clock=clock)
        self._rules, self._ages_ms, self._ask_at_s = Rules.of(policy), ages_ms, clock()
        self._heard = dict.fromkeys(source.tps, clock())
        self._paused: set[Tp] = set()
        self._threads = ThreadPoolExecutor(min(policy.shards, MOST_THREADS), "step")
        self._pending: dict[int, Future[ShardState]] = {}
        self._written: Future[None] | None = None
        self._shards = [store.shard(feed, shard) for shard in range(policy.shards)]
        self._answered, self._polled_ms = clock(), 0
        for tp in source.tps:
            self._seek(tp)

    @property
    def shards(self) -> list[ShardState]:
        """Every shard as the last step left it."""
        self._settle()
        return self._shards

    def step(self, timeout_ms: int) -> int:
        """Handle what one poll brings and return the number of records; wait up to `timeout_ms` for the first.

        A full batch may still be in flight to broker and store when this returns; the next call waits for it.
        """
        self._steer()
        self._ask()
        busy = bool(self._pending) or any(shard.due for shard in self._shards)
        polled = self._source.poll(0 if busy else timeout_ms, self._policy.batch_events)
        now, self._polled_ms = self._clock(), self._now_ms() if polled else 0
        self._heard.update((p.tp, now) for p in polled)
        for part in cut(polled, self._policy.batch_bytes):
            latest = self._now_ms() + self._rules.max_ahead_ms
            self._apply([decode(p, self._readers, self._policy.shards, self._rules, latest) for p in part])
        if not polled:
            self._rest()
        count = sum(len(p.records) for p in polled)
        if count < self._policy.batch_events:
            self._settle()
            for tp in self._source.tps:
                if self._target(tp) != self._source.position(tp):
                    self._seek(tp)
        return count

    def close(self) -> None:
        """End the threads; a step in flight may still arrive, which is harmless."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _apply(self, batches: list[Batch]) -> None:
        self._settle()
        for batch in batches:
            batch.held = self._held(batch.polled.tp, batch.letters)
        self._flush()
        for batch in batches:
            if self._target(batch.polled.tp) < batch.polled.start:  # the store went back
                self._seek(batch.polled.tp)
        for shard in range(self._policy.shards):
            step = self._blank()
            for batch in batches:
                fill(step, shard, self._policy.shards, batch, self._partition(shard, batch.polled.tp).next)
            if shard == 0:
                self._date(step, batches)
            step.moves += self._claims(shard, {batch.polled.tp for batch in batches})
            if step.moves:
                self._send(shard, step)

    def _date(self, step: Step, batches: list[Batch]) -> None:
        """Have shard 0 keep whether the times of a partition's first events can be right."""
        now_ms, batch_of = self._now_ms(), {tp_name(batch.polled.tp): batch for batch in batches}
        for move in step.moves:
            at = self._shards[0].partitions[move.tp]
            if at.next < (end := at.start + FIRST):
                times = first_times(batch_of[move.tp], move.start, end)
                move.dates = add(at.dates, times, now_ms, now_ms + self._rules.max_ahead_ms)

    def _rest(self) -> None:
        """Without records: claim idle and ended partitions, close and drop what is due, or only read the shards."""
        self._settle()
        for shard in range(self._policy.shards):
            step = self._blank()
            step.moves = self._claims(shard, set()) + (self._summed() if shard == 0 else [])
            self._send(shard, step)

    def _held(self, tp: Tp, letters: Sequence[Letter], wait_s: float = SUM_S) -> str | None:
        """Queue letters as far as the limit goes; return what shard 0 must hold of the rest, None if that is as it was.

        What shard 0 has passed is in a letter, or held by it.
        """
        at = self._partition(0, tp)
        held = self._dead.limited(tp, [one for one in letters if one.end > at.next], at.held, wait_s)
        return held if held != at.held else None

    def _summed(self) -> list[Move]:
        """Have what was held for long enough summed up; return the moves that hold it no more."""
        moves, wait_s = [], 0.0 if self._shards[0].ending else QUIET_S
        for tp in self._source.tps:
            if self._held(tp, [], wait_s) is not None:
                at = self._partition(0, tp).next
                moves.append(Move(tp_name(tp), at, at, held=""))
        self._flush()
        return moves

    def _flush(self) -> None:
        """Have the broker acknowledge the letters that are queued, while the next batch is read."""
        if self._dead.queued:
            self._written = self._threads.submit(self._dead.flush)

    def _claims(self, shard: int, moved: set[Tp]) -> list[Move]:
        """Claim what the broker has just confirmed: silence for `idle_s`, or the end of a feed that has ended."""
        since = self._clock() - self._policy.idle_s
        claims = []
        for tp in self._source.tps:
            at = self._partition(shard, tp)
            silent = tp not in self._paused and self._heard[tp] <= since
            quiet_s = self._quiet(tp) if silent else None
            idle, ended = quiet_s is not None, self._shards[shard].ending and not at.ended
            here = tp not in moved and at.next == self._source.position(tp)
            if here and (idle or ended) and self._source.at_end(tp, quiet_s or 0.0):
                claims.append(Move(tp_name(tp), at.next, at.next, idle=int(idle), ended=int(ended)))
        return claims

    def _ask(self) -> None:
        """Ask now and then for the ages at which predictions are marked."""
        if self._ages_ms and self._clock() >= self._ask_at_s:
            self._ask_at_s = self._clock() + ASK_EVERY_S
            if (ages_ms := self._ages_ms()) is not None:
                self._rules = self._rules.marking(ages_ms)

    def _steer(self) -> None:
        """Pause partitions more than `align_s` ahead of the watermark, and all while too many samples are unread."""
        full = any(shard.unread > self._policy.stream_bound for shard in self._shards)
        pause = {tp for tp in self._source.tps if full or self._ahead(tp)}
        self._source.pause(pause - self._paused)
        self._source.resume(self._paused - pause)
        self._paused = pause

    def _ahead(self, tp: Tp) -> bool:
        """Whether a partition is too far ahead; none is until all have been heard and the watermark has risen."""
        lead_ms = max(s.partitions[tp_name(tp)].t_ms - s.watermark_ms if s.watermark_ms else 0 for s in self._shards)
        return lead_ms > (self._policy.align_s + self._policy.slack_s) * 1_000

    def _seek(self, tp: Tp) -> None:
        """Seek to the least next offset of all shards, after checking that the log is the one that they read."""
        start, end = self._source.starts()[tp], self._source.ends()[tp]
        for shard in range(self._policy.shards):
            self._verify(tp, self._partition(shard, tp), start, end)
        self._source.seek(tp, self._target(tp))

    def _verify(self, tp: Tp, at: PartitionState, start: int, end: int) -> None:
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
        return Step(secrets.token_hex(16), self._rules, arrived_ms=self._polled_ms)

    def _send(self, shard: int, step: Step) -> None:
        self._pending[shard] = self._threads.submit(self._stepped, shard, step, self._written)

    def _stepped(self, shard: int, step: Step, written: Future[None] | None) -> ShardState:
        """Apply a step, but only after the letters of what it counts were written; they were submitted before it."""
        if written:
            written.result()
        return self._store.step(self._feed, shard, step)

    def _settle(self) -> None:
        """Wait for the letters and steps in flight."""
        (written, self._written), (pending, self._pending) = (self._written, None), (self._pending, {})
        if written:
            written.result()
        for shard, step in pending.items():
            self._shards[shard] = step.result()
            self._answered = self._clock()

    def _now_ms(self) -> int:
        """Return a lower bound of the store's clock: its latest reply plus what has passed since."""
        return max(shard.now_ms for shard in self._shards) + int((self._clock() - self._answered) * 1_000)

    def _partition(self, shard: int, tp: Tp) -> PartitionState:
        try:
            return self._shards[shard].partitions[tp_name(tp)]
        except KeyError:
            raise StoreWentBack(f"{self._feed}.{shard} does not know the partition {tp_name(tp)}") from None

    def _target(self, tp: Tp) -> int:
        """Return the least next offset of all shards."""
        return min(self._partition(shard, tp).next for shard in range(self._policy.shards))
