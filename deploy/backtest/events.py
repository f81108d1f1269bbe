"""Requests and outcomes as they happened: from files of JSON lines, or from a broker's topics, in order of event time.

Owns the format of a line, and the order. Reads topics from their starts to where they end now, and commits nothing.
All events are in memory at once. Does not know what becomes of an event.
"""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from operator import attrgetter
from pathlib import Path
from typing import NamedTuple
from zlib import crc32

import msgspec
from msgspec import Raw, Struct

from deploy.config import Settings, Topics
from deploy.pipeline import Pipeline
from streams.errors import ConfigError, Unreachable
from streams.events import Record
from streams.kafka import Source, Tp, partition_counts
from streams.kafka.scan import records
from streams.kafka.topics import look
from streams.moments import header_ms
from streams.returned import as_outcome, as_request

NO_TIME = -1  # of a record that has no timestamp


class Happened(NamedTuple):
    """An event: when, by its own time, and the record of a request or an outcome, which its topic says."""

    t_ms: int
    record: Record


class Line(Struct, forbid_unknown_fields=True):
    """A record as a line of JSON: its `value`, which is JSON itself, `key`, time `t` (ms, or ISO 8601) and headers."""

    value: Raw
    key: str | int | None = None
    t: int | str | None = None
    headers: dict[str, str] = {}


_decode = msgspec.json.Decoder(Line).decode


class Events(NamedTuple):
    """What happened, in order of event time, of topics with so many partitions."""

    happened: Sequence[Happened]
    partitions: dict[str, int]


def of_files(pipeline: Pipeline, settings: Settings, requests: Path, outcomes: Path) -> Events:
    """Return the events of two files.

    Each line is a record's value, or a `Line` where the pipeline's reader needs a key, a time or headers.

    Raises:
        ConfigError: a file cannot be read.
    """
    topics = settings.topics.named(pipeline.name)
    files = {topics.requests: requests, topics.outcomes: outcomes}
    read = [record for topic, path in files.items() for record in lines(path, topic, topics.partitions)]
    return Events(in_order(pipeline, topics, read), dict.fromkeys(files, topics.partitions))


def of_topics(pipeline: Pipeline, settings: Settings) -> Events:
    """Return the events that a pipeline's topics hold now.

    Raises:
        ConfigError: there is no such topic.
        Unreachable: the broker does not answer.
    """
    topics = settings.topics.named(pipeline.name)
    names = (topics.requests, topics.outcomes)
    for name, there in look(settings.kafka, names).items():
        if there is None:
            raise ConfigError(f"the broker {settings.kafka.bootstrap} has no topic {name!r}")
    counts = partition_counts(settings.kafka, names)
    tps = [Tp(name, n) for name in names for n in range(counts[name])]
    with closing(Source(settings.kafka, tps)) as source:
        return Events(in_order(pipeline, topics, records(source)), counts)


def between(events: Events, from_ms: int | None, to_ms: int | None) -> Events:
    """Return the events after one time and up to another."""
    kept = [
        one
        for one in events.happened
        if (from_ms is None or one.t_ms > from_ms) and (to_ms is None or one.t_ms <= to_ms)
    ]
    return events._replace(happened=kept)


def lines(path: Path, topic: str, partitions: int = 1) -> Iterator[Record]:
    """Yield the records of a file; its key says in which partition one is.

    Raises:
        ConfigError: the file cannot be read.
    """
    try:
        with path.open("rb") as file:
            for number, text in enumerate(file):
                if value := text.strip():
                    yield _record(topic, number, partitions, _line(value))
    except OSError as wrong:
        raise ConfigError(f"cannot read {path}: {wrong.strerror}") from None


def in_order(pipeline: Pipeline, topics: Topics, read: Iterable[Record]) -> list[Happened]:
    """Return records in the order of their events' times; one that cannot be read stays after the one before it."""
    last, happened = dict[Tp, int](), list[Happened]()
    for record in read:
        tp = Tp(record.topic, record.partition)
        t_ms = _time_ms(pipeline, record, asked=record.topic == topics.requests)
        t_ms = last.get(tp, 0) if t_ms is None else t_ms
        last[tp] = t_ms
        happened.append(Happened(t_ms, record))
    happened.sort(key=attrgetter("t_ms"))
    return happened


def _time_ms(pipeline: Pipeline, record: Record, *, asked: bool) -> int | None:
    """Return an event's time; None where its record cannot be read, which is for the server or the join to say."""
    try:
        if asked:
            t_ms = as_request(pipeline.request, pipeline.request(record)).t_ms
        else:
            t_ms = as_outcome(pipeline.outcome(record), pipeline.outcome).t
        return t_ms if type(t_ms) is int and t_ms >= 0 else None
    except (Unreachable, ConfigError):
        raise
    except (Exception, SystemExit):  # noqa: BLE001 a user's reader may raise anything
        return None


def _line(value: bytes) -> Line:
    try:
        return _decode(value)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return Line(Raw(value))


def _record(topic: str, number: int, partitions: int, line: Line) -> Record:
    key = None if line.key is None else str(line.key).encode()
    t_ms, headers = line.t if isinstance(line.t, int) else NO_TIME, dict(line.headers)
    if isinstance(line.t, str):
        t_ms, headers["t"] = header_ms(line.t.encode()), line.t
    encoded = tuple((name, value.encode()) for name, value in headers.items())
    return Record(topic, crc32(key or b"") % partitions, number, t_ms, t_ms, key, bytes(line.value), encoded)
