"""A source of records by offset: partitions assigned by hand, read from where the caller says.

Owns the consumer that reads the feed, its pace, and what an offset out of range means. `Probe` answers the questions
that need a consumer of their own.
"""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from kafka import KafkaConsumer, TopicPartition
from kafka import errors as client

from streams.errors import LogReplaced, LostRange, PositionError
from streams.events import Record
from streams.kafka.broker import Broker, broker
from streams.kafka.connection import ANSWER_MS, CONNECT_MS, settings
from streams.kafka.faults import Access, connecting, fault, mapped
from streams.kafka.internals import unpack_with
from streams.kafka.reading.decoding import Records
from streams.kafka.reading.probe import Probe, discard, undecodable
from streams.kafka.records import Polled, Rejected, Tp

LATELY_S = 1.0  # how old the answer may be that shows a partition was read to its end
QUIET_S = 0.25  # after this long without a record, fetches are REST_S apart: 4 % of a core instead of 20 %
REST_S = 0.02
LONGEST_WAIT_MS = 100
RUNG_MS, LOOK_MS = 10, 2  # how long a fetch is tried when a bell has rung, and when none has
STARVED_S = 0.25
FETCH_BYTES = 1 << 20  # per partition and fetch; about what one step of the join takes


class Source:
    """Reads partitions from given offsets; after any failure of its client it opens a new one.

    It is of no consumer group: `Positions` keeps what is committed. `fetch_wait_ms` is how long a broker may
    keep a fetch open that has no records. Keep it short: the embedded broker does not wake on new data, and on any
    broker the client has one fetch in flight, so that a silent partition delays the busy ones (500 ms: a seventh of the
    throughput). `wait` sleeps for so many milliseconds, or until somebody has published, and returns whether somebody
    has: where all who do ring, there is no need to fetch meanwhile.

    Raises:
        BrokerUnreachable: the broker does not answer; a retry may help. BrokerRefused: it refuses the login or the
        read; the message says what would be right. Any method may raise these.
    """

    def __init__(
        self,
        at: Broker | str,
        tps: Sequence[Tp],
        *,
        fetch_wait_ms: int = 5,
        wait: Callable[[float], bool] | None = None,
    ) -> None:
        self._access = Access(broker(at), "Read", {tp.topic for tp in tps})
        self._settings: dict[str, Any] = settings(broker(at)) | {
            "group_id": None,
            "enable_auto_commit": False,
            "auto_offset_reset": "none",
            "isolation_level": "read_committed",
            "fetch_max_wait_ms": fetch_wait_ms,
            "max_partition_fetch_bytes": FETCH_BYTES,
            "enable_incremental_fetch_sessions": False,  # so that each answer has every partition's high watermark
            "allow_auto_create_topics": False,
            "metrics_enabled": False,  # 10 us a fetch
            "request_timeout_ms": ANSWER_MS,
        }
        self.tps, self._wait = tuple(tps), wait
        self._of = {tp: TopicPartition(*tp) for tp in self.tps}
        self._position: dict[Tp, int] = {}
        self._paused: set[Tp] = set()
        self._taken = self._fed = time.monotonic()  # when records last came; when the broker last withheld none
        self._ends: tuple[float, dict[Tp, int]] = (float("-inf"), {})
        self._probe = Probe(self._connect)
        self._consumer = self._connect(self.tps)

    def assign(self, tps: Mapping[Tp, int]) -> None:
        """Read these partitions from now on, each from its offset, and no others; none is paused."""
        self.tps, self._of = tuple(tps), {tp: TopicPartition(*tp) for tp in tps}
        self._position, self._paused = {}, set()
        self._ends = (float("-inf"), {})
        self._consumer.assign(list(self._of.values()))
        for tp, offset in tps.items():
            self.seek(tp, offset)

    def seek(self, tp: Tp, offset: int) -> None:
        """Read on from `offset`."""
        self._consumer.seek(self._of[tp], offset)
        self._position[tp] = offset

    def position(self, tp: Tp) -> int:
        """Return the offset of the next record to read; without a `seek` it is the log's start."""
        if tp not in self._position:
            self.seek(tp, self.starts()[tp])
        return self._position[tp]

    def starts(self) -> dict[Tp, int]:
        """Ask for the log start of every partition."""
        with mapped(self._access):
            starts = self._consumer.beginning_offsets(list(self._of.values()), timeout_ms=CONNECT_MS)
        return {Tp(t.topic, t.partition): offset for t, offset in starts.items()}

    def ends(self) -> dict[Tp, int]:
        """Ask for the high watermark of every partition, by a fetch of its own."""
        with mapped(self._access):
            return self._probe.ends(self.tps)

    def poll(self, timeout_ms: int, max_records: int) -> list[Polled]:
        """Take the records of every partition that have arrived, waiting at most `timeout_ms` for the first.

        Raises:
            LostRange, LogReplaced: the log no longer has an offset.
        """
        before = {tp: self.position(tp) for tp in self.tps}
        try:
            fetched = self._fetch(timeout_ms, max_records)
        except client.OffsetOutOfRangeError:
            raise self._out_of_range(before) from None
        except Exception as wrong:
            self._renew()
            if isinstance(wrong, client.KafkaError) and not undecodable(wrong):
                raise fault(wrong, self._access) from wrong
            return self._reject(before, f"{type(wrong).__name__}: {wrong}")
        self._adapt_wait(bool(fetched))
        return list(self._moved(before, fetched))

    def read(self, tp: Tp, offset: int) -> Record | None:
        """Return the record at `offset`, by a consumer of its own; None if the offset holds none, or no longer."""
        with mapped(self._access):
            return self._probe.read(tp, offset)

    def at_end(self, tp: Tp, since_s: float = 0.0) -> bool:
        """Return whether the partition was read to its end, by a fetch answered within the last second.

        The fetch was made after `since_s`, by `time.monotonic`.

        Raises:
            LogReplaced: the log ends before the offset that was read.
        """
        asked, ends = self._ends
        if asked < max(since_s, time.monotonic() - LATELY_S):
            asked, ends = self._ends = time.monotonic(), self.ends()
        if ends[tp] < self.position(tp) and asked > self._taken:
            raise LogReplaced(f"{tp.topic}/{tp.partition}: read up to {self.position(tp)}, but it ends at {ends[tp]}")
        return self.position(tp) == ends[tp]

    def pause(self, tps: Iterable[Tp]) -> None:
        """Read nothing from these partitions until they are resumed."""
        self._paused.update(tps)
        self._consumer.pause(*(self._of[tp] for tp in tps))

    def resume(self, tps: Iterable[Tp]) -> None:
        """Read from these partitions again."""
        self._paused.difference_update(tps)
        self._consumer.resume(*(self._of[tp] for tp in tps))

    def close(self) -> None:
        """Close the client."""
        discard(self._consumer)

    def _connect(self, tps: Sequence[Tp]) -> Any:
        with connecting(self._access):
            consumer = KafkaConsumer(**self._settings)
            unpack_with(consumer, Records)
            consumer.assign([self._of[tp] for tp in tps])
        return consumer

    def _renew(self) -> None:
        discard(self._consumer)
        self._consumer = self._connect(self.tps)
        for tp, offset in self._position.items():
            self._consumer.seek(self._of[tp], offset)
        self._consumer.pause(*(self._of[tp] for tp in self._paused))

    def _fetch(self, timeout_ms: int, max_records: int) -> dict[Any, list[Any]]:
        """Poll; after a silence rest between fetches, each of which takes about 1 ms of processor time."""
        if self._wait:
            fetched = self._consumer.poll(timeout_ms=0, max_records=max_records)
            if not fetched and timeout_ms:
                timeout_ms = RUNG_MS if self._wait(timeout_ms) else LOOK_MS
                fetched = self._consumer.poll(timeout_ms=timeout_ms, max_records=max_records)
            return dict(fetched)
        deadline = time.monotonic() + timeout_ms / 1_000
        while (now := time.monotonic()) - self._taken > QUIET_S and now < deadline:
            if fetched := self._consumer.poll(timeout_ms=0, max_records=max_records):
                return dict(fetched)
            time.sleep(min(REST_S, deadline - now))
        return dict(self._consumer.poll(timeout_ms=max(0, int((deadline - now) * 1_000)), max_records=max_records))

    def _adapt_wait(self, any_record: bool) -> None:
        """Let fetches wait longer where a broker has records but sends none.

        The embedded broker lists all batches of a partition at each fetch, and answers with none when its time is up.
        """
        active = [(tp, offset) for tp, offset in self._position.items() if tp not in self._paused]
        if any_record or all((self._consumer.highwater(self._of[tp]) or 0) <= offset for tp, offset in active):
            self._fed = time.monotonic()
        elif time.monotonic() - self._fed > STARVED_S and self._settings["fetch_max_wait_ms"] < LONGEST_WAIT_MS:
            self._settings["fetch_max_wait_ms"] *= 2
            self._fed = time.monotonic()
            self._renew()

    def _moved(self, before: dict[Tp, int], fetched: dict[Any, list[Any]]) -> Iterator[Polled]:
        for tp, start in before.items():
            end = self._consumer.position(self._of[tp])
            if end != start:
                self._position[tp], self._taken = end, time.monotonic()
                yield Polled(tp, start, end, fetched.get(self._of[tp], []), [])

    def _out_of_range(self, offsets: dict[Tp, int]) -> PositionError:
        starts, ends = self.starts(), self.ends()
        for tp, offset in offsets.items():
            where = f"{tp.topic}/{tp.partition}: the next offset is {offset}, but the log"
            if offset < starts[tp]:
                return LostRange(f"{where} starts at {starts[tp]}")
            if offset > ends[tp]:
                return LogReplaced(f"{where} ends at {ends[tp]}")
        at = ", ".join(f"{tp.topic}/{tp.partition} at {offset}" for tp, offset in offsets.items())
        return LogReplaced(f"the broker had no record at one of these offsets, and now it has: {at}")

    def _reject(self, before: dict[Tp, int], reason: str) -> list[Polled]:
        """Find the partitions whose next batch cannot be decoded, and skip that batch."""
        moved = []
        with mapped(self._access):
            for tp, start in before.items():
                if not self._probe.decodes(tp, start):
                    end = self._probe.next_decodable(tp, start)
                    self.seek(tp, end)
                    moved.append(Polled(tp, start, end, [], [Rejected(start, end, reason)]))
        return moved
