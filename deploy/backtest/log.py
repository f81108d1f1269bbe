"""A log in memory, by which the loop's roles pass on events that are read from files, or from another broker's topics.

Owns offsets, and that only what is not read yet is kept: each partition has one reader. Does not know what a record
means.
"""

from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from itertools import count

from deploy.config import Settings
from deploy.processes.clients import Clients
from streams.errors import LostRange
from streams.events import Record
from streams.kafka import Polled, Sink, Source, Tp
from streams.kafka.reading.positions import Positions


class Log:
    """Topics, each with so many partitions; `ends` are the offsets of the next records."""

    def __init__(self, partitions: Mapping[str, int]) -> None:
        self.partitions = dict(partitions)
        self.ends = {Tp(topic, n): 0 for topic, many in partitions.items() for n in range(many)}
        self._unread = {tp: deque[Record]() for tp in self.ends}
        self._last = dict[Tp, tuple[int, Record]]()

    def append(self, tp: Tp, record: Record) -> None:
        """Append a record, which keeps the offset that it had elsewhere: an id may be made of it."""
        self._unread[tp].append(record)
        self.ends[tp] += 1

    def position(self, tp: Tp) -> int:
        """Return the offset of the next record to read."""
        return self.ends[tp] - len(self._unread[tp])

    def take(self, tp: Tp, most: int) -> list[Record]:
        """Take up to so many records that were not read yet."""
        unread = self._unread[tp]
        taken = [unread.popleft() for _ in range(min(most, len(unread)))]
        if taken:
            self._last[tp] = self.position(tp) - 1, taken[-1]
        return taken

    def last(self, tp: Tp, offset: int) -> Record | None:
        """Return the record that was read last, if it has this offset."""
        at, record = self._last.get(tp, (-1, None))
        return record if at == offset else None

    def unread(self, tp: Tp) -> Iterable[Record]:
        """Return what nobody has read."""
        return self._unread[tp]


class LogSource(Source):
    """Reads such a log. With `numbered`, records get the offsets that they have here."""

    def __init__(self, log: Log, tps: Sequence[Tp], *, numbered: bool) -> None:
        self._log, self._numbered, self.tps = log, numbered, tuple(tps)
        self._paused = set[Tp]()

    def assign(self, tps: Mapping[Tp, int]) -> None:
        """Read these partitions from now on."""
        self.tps, self._paused = tuple(tps), set()
        for tp, offset in tps.items():
            self.seek(tp, offset)

    def seek(self, tp: Tp, offset: int) -> None:
        """Read on from `offset`.

        Raises:
            LostRange: that was read, and is gone.
        """
        if offset != (at := self._log.position(tp)):
            raise LostRange(f"{tp.topic}/{tp.partition}: the next offset is {offset}, but what is left starts at {at}")

    def position(self, tp: Tp) -> int:
        """Return the offset of the next record to read."""
        return self._log.position(tp)

    def starts(self) -> dict[Tp, int]:
        """Return the log start of every partition."""
        return dict.fromkeys(self.tps, 0)

    def ends(self) -> dict[Tp, int]:
        """Return the end of every partition."""
        return {tp: self._log.ends[tp] for tp in self.tps}

    def poll(self, timeout_ms: int, max_records: int) -> list[Polled]:
        """Take the records of every partition, so many in all at most."""
        polled = list[Polled]()
        for tp in self.tps:
            start = self._log.position(tp)
            if tp not in self._paused and (taken := self._log.take(tp, max_records)):
                max_records -= len(taken)
                if self._numbered:
                    taken = [record._replace(offset=n) for n, record in zip(count(start), taken, strict=False)]
                polled.append(Polled(tp, start, start + len(taken), taken, []))
        return polled

    def read(self, tp: Tp, offset: int) -> Record | None:
        """Return the record at `offset`, of which only the one read last is kept."""
        return self._log.last(tp, offset)

    def at_end(self, tp: Tp, since_s: float = 0.0) -> bool:
        """Return whether the partition was read to its end."""
        return self._log.position(tp) == self._log.ends[tp]

    def pause(self, tps: Iterable[Tp]) -> None:
        """Read nothing from these partitions until they are resumed."""
        self._paused.update(tps)

    def resume(self, tps: Iterable[Tp]) -> None:
        """Read from these partitions again."""
        self._paused.difference_update(tps)

    def close(self) -> None:
        """Do nothing."""


class LogSink(Sink):
    """Writes to such a log, which takes records of up to `most_bytes`."""

    def __init__(self, log: Log, most_bytes: int) -> None:
        self._log, self._most_bytes, self._written = log, most_bytes, set[Tp]()

    def limit_bytes(self, topic: str) -> int:
        """Return the largest record that can be sent to a topic."""
        return self._most_bytes

    def send(
        self, tp: Tp, *, key: bytes | None, value: bytes | None, t_ms: int, headers: Sequence[tuple[str, bytes]] = ()
    ) -> None:  # fmt: skip
        """Write one record, its timestamp the event time."""
        all_headers = (("t", b"%d" % t_ms), *headers)
        self._log.append(tp, Record(*tp, self._log.ends[tp], t_ms, t_ms, key, value, all_headers))
        self._written.add(tp)

    def flush(self) -> dict[Tp, int]:
        """Return the offset after the last record of each partition that was written to since the last flush."""
        written, self._written = self._written, set()
        return {tp: self._log.ends[tp] for tp in written}

    def close(self) -> None:
        """Do nothing."""


class LogPositions(Positions):
    """Keeps no positions: all that is read is passed."""

    def __init__(self, log: Log) -> None:
        self._log = log

    def committed(self, tps: Sequence[Tp]) -> dict[Tp, int]:
        """Return how far partitions are read."""
        return {tp: self._log.position(tp) for tp in tps}

    def commit(self, offsets: Mapping[Tp, int]) -> None:
        """Keep nothing."""

    def commit_now(self, offsets: Mapping[Tp, int]) -> None:
        """Keep nothing."""

    def close(self) -> None:
        """Do nothing."""


class LogClients(Clients):
    """A role's connections: to such a log, and to a store. What reads the topic `asked` gets records as they were."""

    def __init__(self, settings: Settings, stack: ExitStack, log: Log, asked: str) -> None:
        super().__init__(settings, 0, stack)
        self._log, self._asked = log, asked

    def source(self, tps: Sequence[Tp], wait: Callable[[float], bool] | None = None) -> LogSource:
        """Return a source of these partitions."""
        return LogSource(self._log, tps, numbered=all(tp.topic != self._asked for tp in tps))

    def positions(self, group: str, topic: str) -> LogPositions:
        """Return what says how far a topic is read."""
        return LogPositions(self._log)

    def sink(self) -> LogSink:
        """Return a sink."""
        return LogSink(self._log, self._settings.kafka.request_bytes)

    def partitions(self, topics: Sequence[str]) -> dict[str, int]:
        """Return how many partitions topics have."""
        return {topic: self._log.partitions[topic] for topic in topics}
