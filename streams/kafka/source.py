"""A source of records by position: partitions assigned by hand, read from where the caller says.

Owns the consumer that reads on, its pace, and what a position out of range means. Questions that need a client of their
own are `Probe`'s.
"""

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from kafka import KafkaConsumer, TopicPartition
from kafka import errors as client
from kafka.structs import OffsetAndMetadata

from streams.errors import LogReplaced, LostRange, PositionError
from streams.events import Record
from streams.kafka.broker import Broker, broker
from streams.kafka.connection import ANSWER_MS, CONNECT_MS, settings
from streams.kafka.decoding import Records
from streams.kafka.faults import Access, connecting, fault, mapped
from streams.kafka.internals import unpack_with
from streams.kafka.probe import Probe, discard, undecodable
from streams.kafka.records import Polled, Tp

LATELY_S = 1.0  # how old the answer may be that shows a partition at its end
QUIET_S = 0.25  # after so long without a record, fetches are spaced by REST_S: 20 % of a core becomes 4 %
REST_S = 0.02
LONGEST_WAIT_MS = 100
STARVED_S = 0.25
FETCH_BYTES = 1 << 20  # per partition and fetch; about what one step of the join takes


class Source:
    """Reads partitions from given positions; after any failure of its client it is on a fresh one.

    `group` names where `commit` and `committed` keep offsets. `fetch_wait_ms` is how long a broker may hold a fetch
    that finds nothing. Keep it short: the embedded broker does not wake on new data, and on any broker the client has
    one fetch in flight, so that a silent partition delays the busy ones (500 ms: a seventh of the throughput).

    Raises:
        BrokerUnreachable: the broker does not answer; worth a retry.
        BrokerRefused: it answers, and lets us not in or not read; says what would be right. Any method may raise these.
    """

    def __init__(
        self, at: Broker | str, tps: Sequence[Tp], *, group: str | None = None, fetch_wait_ms: int = 5
    ) -> None:
        self._access = Access(broker(at), "Read", {tp.topic for tp in tps}, group=group)
        self._settings: dict[str, Any] = settings(broker(at)) | {
            "group_id": group,
            "enable_auto_commit": False,
            "auto_offset_reset": "none",
            "isolation_level": "read_committed",
            "fetch_max_wait_ms": fetch_wait_ms,
            "max_partition_fetch_bytes": FETCH_BYTES,
            "enable_incremental_fetch_sessions": False,  # each answer then tells every partition's high watermark
            "allow_auto_create_topics": False,
            "metrics_enabled": False,  # 10 us a fetch
            "request_timeout_ms": ANSWER_MS,
        }
        self.tps = tuple(tps)
        self._of = {tp: TopicPartition(*tp) for tp in self.tps}
        self._position: dict[Tp, int] = {}
        self._paused: set[Tp] = set()
        self._taken = self._fed = time.monotonic()  # when records last came; when none were withheld
        self._ends: tuple[float, dict[Tp, int]] = (float("-inf"), {})
        self._probe = Probe(self._connect)
        self._consumer = self._connect(self.tps)

    def seek(self, tp: Tp, offset: int) -> None:
        """Read on from `offset`."""
        self._consumer.seek(self._of[tp], offset)
        self._position[tp] = offset

    def position(self, tp: Tp) -> int:
        """Give the offset of the next record that will be read; a partition without a `seek` stands at its start."""
        if tp not in self._position:
            self.seek(tp, self.starts()[tp])
        return self._position[tp]

    def starts(self) -> dict[Tp, int]:
        """Ask for the log start of every partition."""
        with mapped(self._access):
            found = self._consumer.beginning_offsets(list(self._of.values()), timeout_ms=CONNECT_MS)
        return {Tp(t.topic, t.partition): offset for t, offset in found.items()}

    def ends(self) -> dict[Tp, int]:
        """Ask for the high watermark of every partition, by a fetch of its own."""
        with mapped(self._access):
            return self._probe.ends(self.tps)

    def poll(self, timeout_ms: int, max_records: int) -> list[Polled]:
        """Take what is there, of every partition, waiting at most `timeout_ms` for a first record.

        Raises:
            LostRange, LogReplaced: a position is not in the log any more.
        """
        before = {tp: self.position(tp) for tp in self.tps}
        try:
            found = self._fetch(timeout_ms, max_records)
        except client.OffsetOutOfRangeError:
            raise self._out_of_range(before) from None
        except Exception as wrong:
            self._renew()
            if isinstance(wrong, client.KafkaError) and not undecodable(wrong):
                raise fault(wrong, self._access) from wrong
            return self._reject(before, f"{type(wrong).__name__}: {wrong}")
        self._nourish(bool(found))
        return list(self._moved(before, found))

    def read(self, tp: Tp, offset: int) -> Record | None:
        """Read the one record at `offset` with a client of its own; None if there is none (any more)."""
        with mapped(self._access):
            return self._probe.read(tp, offset)

    def at_end(self, tp: Tp) -> bool:
        """Tell whether everything in the partition has been read, by a fetch answered within the last second.

        Raises:
            LogReplaced: the log ends before the position.
        """
        asked, ends = self._ends
        if time.monotonic() - asked > LATELY_S:
            asked, ends = self._ends = time.monotonic(), self.ends()
        if ends[tp] < self.position(tp) and asked > self._taken:
            raise LogReplaced(f"{tp.topic}/{tp.partition}: read up to {self.position(tp)}, but it ends at {ends[tp]}")
        return self.position(tp) == ends[tp]

    def pause(self, tps: Iterable[Tp]) -> None:
        """Take nothing from these until they are resumed."""
        self._paused.update(tps)
        self._consumer.pause(*(self._of[tp] for tp in tps))

    def resume(self, tps: Iterable[Tp]) -> None:
        """Take from these again."""
        self._paused.difference_update(tps)
        self._consumer.resume(*(self._of[tp] for tp in tps))

    def committed(self) -> dict[Tp, int]:
        """Ask for the group's committed offsets; partitions without one are absent."""
        with mapped(self._access):
            found = {tp: self._consumer.committed(t, timeout_ms=ANSWER_MS) for tp, t in self._of.items()}
        return {tp: offset for tp, offset in found.items() if offset is not None}

    def commit(self, offsets: Mapping[Tp, int]) -> None:
        """Send the group's offsets off, not waiting: a lost one is read again, and its requests served again."""
        self._consumer.commit_async({self._of[tp]: OffsetAndMetadata(n, "", -1) for tp, n in offsets.items()})

    def close(self) -> None:
        """Let the client go."""
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
        """Poll; on a partition silent for a while rest between fetches, each of which costs about 1 ms of processor."""
        deadline = time.monotonic() + timeout_ms / 1_000
        while (now := time.monotonic()) - self._taken > QUIET_S and now < deadline:
            if found := self._consumer.poll(timeout_ms=0, max_records=max_records):
                return dict(found)
            time.sleep(min(REST_S, deadline - now))
        return dict(self._consumer.poll(timeout_ms=max(0, int((deadline - now) * 1_000)), max_records=max_records))

    def _nourish(self, found: bool) -> None:
        """Wait longer where a broker tells of records and gives none.

        The embedded one lists all batches of a partition at each fetch, and stops without a word when time is up.
        """
        here = self._position.items()
        if found or all(
            (self._consumer.highwater(self._of[tp]) or 0) <= at for tp, at in here if tp not in self._paused
        ):
            self._fed = time.monotonic()
        elif time.monotonic() - self._fed > STARVED_S and self._settings["fetch_max_wait_ms"] < LONGEST_WAIT_MS:
            self._settings["fetch_max_wait_ms"] *= 2
            self._fed = time.monotonic()
            self._renew()

    def _moved(self, before: dict[Tp, int], found: dict[Any, list[Any]]) -> Iterator[Polled]:
        for tp, start in before.items():
            end = self._consumer.position(self._of[tp])
            if end != start:
                self._position[tp], self._taken = end, time.monotonic()
                yield Polled(tp, start, end, found.get(self._of[tp], []), [])

    def _out_of_range(self, positions: dict[Tp, int]) -> PositionError:
        starts, ends = self.starts(), self.ends()
        for tp, offset in positions.items():
            where = f"{tp.topic}/{tp.partition}: the next offset is {offset}, but the log"
            if offset < starts[tp]:
                return LostRange(f"{where} starts at {starts[tp]}")
            if offset > ends[tp]:
                return LogReplaced(f"{where} ends at {ends[tp]}")
        at = ", ".join(f"{tp.topic}/{tp.partition} at {offset}" for tp, offset in positions.items())
        return LogReplaced(f"the broker has no record at one of these positions, and now it has: {at}")

    def _reject(self, before: dict[Tp, int], reason: str) -> list[Polled]:
        """Find the partitions whose next batch cannot be decoded, and step over it."""
        moved = []
        with mapped(self._access):
            for tp, start in before.items():
                if not self._probe.decodes(tp, start):
                    end = self._probe.next_decodable(tp, start)
                    self.seek(tp, end)
                    moved.append(Polled(tp, start, end, [], [(start, end, reason)]))
        return moved
