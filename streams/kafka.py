"""Kafka, and the only file that imports its client: a source of records by position, and a sink that is acknowledged.

Owns the consumers and producers, their settings and the mapping of their errors onto ours. Knows nothing of events,
joins or stores: a position is whatever the caller says it is. Partitions are assigned by hand, never by a group.
"""

import contextlib
import time
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer, TopicPartition
from kafka import errors as client
from kafka.structs import OffsetAndMetadata

from streams.errors import BrokerUnreachable, ConfigError, LogReplaced, LostRange, PositionError
from streams.events import Record

CONNECT_MS = 5_000  # how long a broker may take to answer at all
ANSWER_MS = 20_000  # how long a request may take before its future counts as failed
LATELY_S = 1.0  # how old the answer may be that shows a partition at its end
QUIET_S = 0.25  # after so long without a record, fetches are spaced by REST_S: 20 % of a core becomes 4 %
REST_S = 0.02
PROBE_MS = 500  # for one batch that is there; a probe cut short only rejects a batch in more pieces
LINGER_MS = 100  # `flush` sends at once, and as one batch: the embedded broker's fetch costs 0.5 us for each in the log
LONGEST_WAIT_MS = 100
STARVED_S = 0.25
FETCH_BYTES = 1 << 20  # per partition and fetch; about what one step of the join takes


class Tp(NamedTuple):
    """One partition of a topic."""

    topic: str
    partition: int


class Polled(NamedTuple):
    """What one poll took from a partition: the positions before and after, and the records between.

    Positions without a record are holes (transaction markers, compaction), except the `rejected` ranges (from, to,
    reason), whose bytes could not be decoded.
    """

    tp: Tp
    start: int
    end: int
    records: list[Record]
    rejected: list[tuple[int, int, str]]


def crc(record: Record) -> int:
    """Give the checksum by which a record is known again: CRC-32 over timestamp, key and value."""
    place = b"%d\0%d\0" % (record.timestamp_ms, -1 if record.key is None else len(record.key))
    return zlib.crc32(record.value or b"", zlib.crc32(place + (record.key or b"")))


class Source:
    """Reads partitions from given positions; after any failure of its client it is on a fresh one.

    `group` names where `commit` and `committed` keep offsets. `fetch_wait_ms` is how long a broker may hold a fetch
    that finds nothing. Keep it short: the embedded broker does not wake on new data, and on any broker the client has
    one fetch in flight, so that a silent partition delays the busy ones (500 ms: a seventh of the throughput).
    """

    def __init__(self, bootstrap: str, tps: Sequence[Tp], *, group: str | None = None, fetch_wait_ms: int = 5) -> None:
        self._settings: dict[str, Any] = {
            "bootstrap_servers": bootstrap.split(","),
            "group_id": group,
            "enable_auto_commit": False,
            "auto_offset_reset": "none",
            "isolation_level": "read_committed",
            "fetch_max_wait_ms": fetch_wait_ms,
            "max_partition_fetch_bytes": FETCH_BYTES,
            "enable_incremental_fetch_sessions": False,  # each answer then tells every partition's high watermark
            "allow_auto_create_topics": False,
            "metrics_enabled": False,  # 10 us a fetch
            "bootstrap_timeout_ms": CONNECT_MS,
            "request_timeout_ms": ANSWER_MS,
        }
        self.tps = tuple(tps)
        self._of = {tp: TopicPartition(*tp) for tp in self.tps}
        self._position: dict[Tp, int] = {}
        self._paused: set[Tp] = set()
        self._taken = self._fed = time.monotonic()  # when records last came; when none were withheld
        self._ends: tuple[float, dict[Tp, int]] = (float("-inf"), {})
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
        with self._reachable():
            return _plain(self._consumer.beginning_offsets(list(self._of.values()), timeout_ms=CONNECT_MS))

    def ends(self) -> dict[Tp, int]:
        """Ask for the high watermark of every partition, by a fetch of its own.

        ListOffsets alone will not do: the embedded broker answers it with the last batch's first offset plus one.
        """
        with self._reachable(), self._probe(self.tps) as consumer:
            for t, offset in consumer.end_offsets(list(self._of.values()), timeout_ms=CONNECT_MS).items():
                consumer.seek(t, offset)
            return {tp: _high(consumer, t) for tp, t in self._of.items()}

    def poll(self, timeout_ms: int, max_records: int) -> list[Polled]:
        """Take what is there, of every partition, waiting at most `timeout_ms` for a first record.

        Raises:
            LostRange, LogReplaced: a position is not in the log any more.
            BrokerUnreachable: the broker refused.
        """
        before = {tp: self.position(tp) for tp in self.tps}
        try:
            found = self._fetch(timeout_ms, max_records)
        except client.OffsetOutOfRangeError:
            raise self._out_of_range(before) from None
        except client.LogTruncationError as wrong:
            raise LogReplaced(str(wrong)) from wrong
        except Exception as wrong:
            self._renew()
            if not _undecodable(wrong):
                raise BrokerUnreachable(f"{type(wrong).__name__}: {wrong}") from wrong
            return self._reject(before, f"{type(wrong).__name__}: {wrong}")
        self._nourish(bool(found))
        return list(self._moved(before, found))

    def read(self, tp: Tp, offset: int) -> Record | None:
        """Read the one record at `offset` with a client of its own; None if there is none (any more)."""
        with self._probe([tp]) as consumer:
            consumer.seek(self._of[tp], offset)
            try:
                if _high(consumer, self._of[tp]) <= offset:
                    return None
                consumer.seek(self._of[tp], offset)
                found = consumer.poll(timeout_ms=CONNECT_MS, max_records=1).get(self._of[tp], [])
            except client.OffsetOutOfRangeError:
                return None
        return _record(found[0]) if found and found[0].offset == offset else None

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
        with self._reachable():
            found = {tp: self._consumer.committed(t, timeout_ms=ANSWER_MS) for tp, t in self._of.items()}
        return {tp: offset for tp, offset in found.items() if offset is not None}

    def commit(self, offsets: Mapping[Tp, int]) -> None:
        """Send the group's offsets off, not waiting: a lost one is read again, and its requests served again."""
        self._consumer.commit_async({self._of[tp]: OffsetAndMetadata(n, "", -1) for tp, n in offsets.items()})

    def close(self) -> None:
        """Let the client go."""
        _discard(self._consumer)

    def _reachable(self) -> contextlib.AbstractContextManager[None]:
        return _reachable(self._settings["bootstrap_servers"])

    @contextlib.contextmanager
    def _probe(self, tps: Sequence[Tp]) -> Iterator[Any]:
        consumer = self._connect(tps)
        try:
            yield consumer
        finally:
            _discard(consumer)

    def _connect(self, tps: Sequence[Tp]) -> Any:
        with self._reachable():
            consumer = KafkaConsumer(**self._settings)
            consumer.assign([self._of[tp] for tp in tps])
        return consumer

    def _renew(self) -> None:
        _discard(self._consumer)
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
                yield Polled(tp, start, end, [_record(r) for r in found.get(self._of[tp], ())], [])

    def _out_of_range(self, positions: dict[Tp, int]) -> PositionError:
        starts = self.starts()
        for tp, offset in positions.items():
            if offset < starts[tp]:
                return LostRange(f"{tp.topic}/{tp.partition}: next is {offset}, but the log starts at {starts[tp]}")
        return LogReplaced(f"the log ends before the next offset of one of {positions}")

    def _reject(self, before: dict[Tp, int], reason: str) -> list[Polled]:
        """Find the partitions whose next batch cannot be decoded, and step over it."""
        moved = []
        for tp, start in before.items():
            if not self._decodes(tp, start):
                end = self._next_decodable(tp, start)
                self.seek(tp, end)
                moved.append(Polled(tp, start, end, [], [(start, end, reason)]))
        return moved

    def _next_decodable(self, tp: Tp, bad: int) -> int:
        """Bisect: any offset inside a broken batch fetches that batch, so decoding is monotone up to its end."""
        end, step = self.ends()[tp], 1
        while bad + step < end and not self._decodes(tp, bad + step):
            bad, step = bad + step, step * 2
        good = min(bad + step, end)
        while good - bad > 1:
            middle = (bad + good) // 2
            bad, good = (bad, middle) if self._decodes(tp, middle) else (middle, good)
        return good

    def _decodes(self, tp: Tp, offset: int) -> bool:
        with self._probe([tp]) as consumer:
            consumer.seek(self._of[tp], offset)
            try:
                consumer.poll(timeout_ms=PROBE_MS, max_records=1)
            except Exception as wrong:
                if not _undecodable(wrong):
                    raise
                return False
        return True


class Sink:
    """Writes records and waits for the broker's word on every one."""

    def __init__(self, bootstrap: str) -> None:
        self._servers = bootstrap.split(",")
        self._sent: list[tuple[Tp, Any]] = []
        self._producer: Any = self._connect()

    def send(
        self,
        tp: Tp,
        *,
        key: bytes | None,
        value: bytes | None,
        t_ms: int,
        headers: Sequence[tuple[str, bytes]] = (),
    ) -> None:
        """Queue one record at the wall clock, its event time in the header `t`; `flush` tells what became of it."""
        self._producer = self._producer or self._connect()
        try:
            sent = self._producer.send(
                tp.topic, value, key, [("t", b"%d" % t_ms), *headers], tp.partition, int(time.time() * 1_000)
            )
        except client.KafkaError as wrong:
            self.close()
            raise BrokerUnreachable(f"{tp.topic} at {','.join(self._servers)}: {wrong}") from wrong
        self._sent.append((tp, sent))

    def flush(self) -> dict[Tp, int]:
        """Wait for every record sent since the last flush; give the offset after the last one, per partition.

        Raises:
            BrokerUnreachable: one was not acknowledged; the next `send` starts a fresh producer.
        """
        sent, self._sent = self._sent, []
        after: dict[Tp, int] = {}
        try:
            if sent:
                self._producer.flush(timeout=ANSWER_MS / 1_000)
            for tp, future in sent:
                after[tp] = future.get(ANSWER_MS / 1_000).offset + 1
        except client.KafkaError as wrong:
            self.close()
            raise BrokerUnreachable(f"not acknowledged by {','.join(self._servers)}: {wrong}") from wrong
        return after

    def close(self) -> None:
        """Let the client go; what was not flushed may be lost."""
        self._sent = []
        if self._producer:
            with contextlib.suppress(client.KafkaError):
                self._producer.close(timeout=0)
        self._producer = None

    def _connect(self) -> Any:
        with _reachable(self._servers):
            return KafkaProducer(
                bootstrap_servers=self._servers,
                acks="all",
                enable_idempotence=True,
                linger_ms=LINGER_MS,
                batch_size=1 << 18,
                max_block_ms=CONNECT_MS,
                delivery_timeout_ms=ANSWER_MS,
                request_timeout_ms=ANSWER_MS // 2,
                allow_auto_create_topics=False,
                metrics_enabled=False,
                bootstrap_timeout_ms=CONNECT_MS,
            )


def ensure_topics(bootstrap: str, names: Mapping[str, int]) -> None:
    """Create the topics (name → partitions) that are not there, with unlimited retention.

    Raises:
        BrokerUnreachable: nothing answers at the address.
        ConfigError: a topic is there with another number of partitions.
    """
    servers = bootstrap.split(",")
    with _reachable(servers):
        admin = KafkaAdminClient(
            bootstrap_servers=servers, bootstrap_timeout_ms=CONNECT_MS, request_timeout_ms=ANSWER_MS
        )
    try:
        there = set(admin.list_topics())
        forever = {"retention.ms": "-1", "retention.bytes": "-1"}
        wanted = {
            name: {"num_partitions": n, "replication_factor": -1, "configs": forever}
            for name, n in names.items()
            if name not in there
        }
        if wanted:
            with contextlib.suppress(client.TopicAlreadyExistsError):
                admin.create_topics(wanted, wait_for_metadata=True)
        for topic in admin.describe_topics(list(names)):
            have, want = len(topic["partitions"]), names[topic["name"]]
            if have != want:
                raise ConfigError(f"topic {topic['name']!r} has {have} partitions, but {want} are asked for")
    except client.KafkaError as wrong:
        raise BrokerUnreachable(f"{bootstrap}: {wrong}") from wrong
    finally:
        admin.close()


def _record(found: Any) -> Record:
    headers = found.headers
    t_ms = found.timestamp
    for name, value in headers:
        if name == "t" and value and value.isdigit():
            t_ms = int(value)
    return Record(
        found.topic, found.partition, found.offset, found.timestamp, t_ms, found.key, found.value, tuple(headers)
    )


def _plain(offsets: dict[Any, int]) -> dict[Tp, int]:
    return {Tp(t.topic, t.partition): offset for t, offset in offsets.items()}


def _high(consumer: Any, t: Any) -> int:
    """Fetch until an answer has told the high watermark, whether or not its records can be decoded."""
    deadline = time.monotonic() + CONNECT_MS / 1_000
    while (high := consumer.highwater(t)) is None:
        if time.monotonic() > deadline:
            raise BrokerUnreachable(f"no answer about {t.topic}/{t.partition} in {CONNECT_MS} ms")
        try:
            consumer.poll(timeout_ms=50, max_records=1)
        except Exception as wrong:
            if not _undecodable(wrong):
                raise
    return int(high)


def _undecodable(wrong: Exception) -> bool:
    """Whether a poll failed on the records' bytes: codecs and formats raise anything, the client's rest its own."""
    bytes_at_fault = isinstance(wrong, client.CorruptRecordError | client.UnsupportedCodecError)
    return bytes_at_fault or not isinstance(wrong, client.KafkaError)


def _discard(consumer: Any) -> None:
    with contextlib.suppress(Exception):
        consumer.close(autocommit=False, timeout_ms=0)


@contextlib.contextmanager
def _reachable(servers: Sequence[str]) -> Iterator[None]:
    try:
        yield
    except client.RetriableError as wrong:
        raise BrokerUnreachable(f"no Kafka broker answers at {','.join(servers)}: {wrong}") from wrong
