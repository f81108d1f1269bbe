"""Requests and outcomes as they happened: from files of JSON lines, or from a broker's topics, in order of event time.

Owns the format of a line, and the order. Reads topics from their starts to where they end now, and commits nothing.
Files may be compressed, with gzip or zstd. All events are in memory at once. Does not know what becomes of an event.
"""

import gzip
import io
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from operator import attrgetter
from pathlib import Path
from typing import BinaryIO, NamedTuple
from zlib import crc32
from zlib import error as ZlibError

import msgspec
import zstandard
from msgspec import Raw, Struct

from deploy.config import Settings, Topics
from deploy.pipeline import Pipeline
from streams.errors import ConfigError, MalformedEvent, Unreachable
from streams.events import Record
from streams.kafka import Source, Tp, partition_counts
from streams.kafka.scan import records
from streams.kafka.topics import look
from streams.moments import SECONDS_DIGITS, UNREADABLE_MS, header_ms, why_no_iso
from streams.returned import as_outcome, as_request

NO_TIME = -1  # of a record that has no timestamp
FORM = '{"key": "a1", "t": 1357004580000, "value": {...}}'
UNITS = {SECONDS_DIGITS: "seconds", 16: "microseconds", 19: "nanoseconds"}  # of so many digits, from 2001 to 2286
GZIP, ZSTD, OTHERS = b"\x1f\x8b", b"\x28\xb5\x2f\xfd", {b"PAR1": "Parquet", b"PK": "a zip file", b"Obj\x01": "Avro"}
CUT = 80  # bytes of a line that are shown


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
        ConfigError: a file cannot be read or has no line of JSON, or a line has no time where the reader needs one;
            names file, line and field.
    """
    topics = settings.topics.named(pipeline.name)
    files = {topics.requests: requests, topics.outcomes: outcomes}
    read = [record for topic, path in files.items() for record in lines(path, topic, topics.partitions)]

    _check_outcomes(pipeline, outcomes, [one for one in read if one.topic == topics.outcomes])

    def timeless(record: Record) -> ConfigError:
        return ConfigError(
            f"{files[record.topic]}, line {record.offset + 1}: t is missing, and the pipeline takes a record's own "
            f"time: a line is {FORM}, with t in milliseconds since 1970 or in ISO 8601 with an offset. Found "
            f"{_cut(record.value or b'')}"
        )

    return Events(in_order(pipeline, topics, read, timeless), dict.fromkeys(files, topics.partitions))


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
        ConfigError: the file cannot be read, none of its lines is JSON, or a line's field is wrong.
    """
    first, some = b"", False
    try:
        with path.open("rb") as file:
            for number, text in enumerate(_opened(file)):
                if value := text.strip():
                    first, line = first or value, _line(value, f"{path}, line {number + 1}")
                    some = some or line is not None
                    yield _record(topic, number, partitions, line or Line(Raw(value)), f"{path}, line {number + 1}")
    except (OSError, EOFError, ZlibError, zstandard.ZstdError) as wrong:
        raise ConfigError(f"cannot read {path}: {getattr(wrong, 'strerror', None) or wrong}") from None
    if first and not some:
        what = next((f"; it is {name}" for magic, name in OTHERS.items() if first.startswith(magic)), "")
        raise ConfigError(f"{path} has no line of JSON{what}: a line is {FORM}, or a value alone. Found {_cut(first)}")


def _opened(file: BinaryIO) -> BinaryIO:
    """Return what a file holds, decompressed by how it begins."""
    begins = file.read(4)
    file.seek(0)
    if begins.startswith(GZIP):
        return gzip.open(file)  # type: ignore[return-value]
    return io.BytesIO(b"".join(_frames(file.read()))) if begins == ZSTD else file


def _frames(data: bytes) -> Iterator[bytes]:
    """Yield what each frame of zstd holds.

    Raises:
        EOFError: the last one is cut off.
    """
    while data:
        frame = zstandard.ZstdDecompressor().decompressobj()
        yield frame.decompress(data)
        if not frame.eof:
            raise EOFError("its last frame is cut off")
        data = frame.unused_data


def _check_outcomes(pipeline: Pipeline, path: Path, told: Sequence[Record]) -> None:
    """Check that a record of the outcomes' file can be read as one: else it may be another file.

    Raises:
        ConfigError: none can be; says why of the first.
    """
    first = ""
    for record in told:
        try:
            as_outcome(pipeline.outcome(record), pipeline.outcome)
        except MalformedEvent as wrong:
            first = first or f"line {record.offset + 1}: {wrong}"
        except (Exception, SystemExit):  # noqa: BLE001 a user's reader may raise anything, which the join says
            return
        else:
            return
    if first:
        raise ConfigError(f"{path} has no line that is an outcome: {first}. The file of requests comes first")


def in_order(
    pipeline: Pipeline, topics: Topics, read: Iterable[Record],
    timeless: Callable[[Record], ConfigError] | None = None,
) -> list[Happened]:  # fmt: skip
    """Return records in the order of their events' times; one that cannot be read stays after the one before it.

    Where a record has no time, and its reader takes that, `timeless` makes the error that is raised.
    """
    last, happened = dict[Tp, int](), list[Happened]()
    for record in read:
        tp = Tp(record.topic, record.partition)
        t_ms = _time_ms(pipeline, record, asked=record.topic == topics.requests)
        if t_ms == NO_TIME == record.timestamp_ms and timeless:
            raise timeless(record)
        t_ms = last.get(tp, 0) if t_ms is None or t_ms < 0 else t_ms
        last[tp] = t_ms
        happened.append(Happened(t_ms, record))
    happened.sort(key=attrgetter("t_ms"))
    return happened


def _time_ms(pipeline: Pipeline, record: Record, *, asked: bool) -> int | None:
    """Return an event's time; None where its record cannot be read, which is for the server or the join to say.

    A negative one is for them to refuse, too.
    """
    try:
        if asked:
            t_ms = as_request(pipeline.request, pipeline.request(record)).t_ms
        else:
            t_ms = as_outcome(pipeline.outcome(record), pipeline.outcome).t
        return t_ms if type(t_ms) is int else None
    except (Unreachable, ConfigError):
        raise
    except (Exception, SystemExit):  # noqa: BLE001 a user's reader may raise anything
        return None


def _line(value: bytes, where: str) -> Line | None:
    """Return a line of JSON, which is a value alone where it is no `Line`; None for what is no JSON.

    Raises:
        ConfigError: it has the fields of a `Line` and no others, and one is of another type.
    """
    try:
        return _decode(value)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as wrong:
        why = str(wrong)
    try:
        found = msgspec.json.decode(value)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    if isinstance(found, dict) and "value" in found and len(found) > 1 and found.keys() <= {*Line.__struct_fields__}:
        raise ConfigError(f"{where}: {why}; a line is {FORM}, with t in milliseconds since 1970 or in ISO 8601")
    return Line(Raw(value))


def _record(topic: str, number: int, partitions: int, line: Line, where: str) -> Record:
    key = None if line.key is None else str(line.key).encode()
    t_ms, headers = line.t if isinstance(line.t, int) else NO_TIME, dict(line.headers)
    if isinstance(line.t, int) and (why := _why_no_ms(line.t)):
        raise ConfigError(f"{where}: t is {line.t}, {why}: t is in milliseconds since 1970, or in ISO 8601")
    if isinstance(line.t, str):
        t_ms, headers["t"] = header_ms(line.t.encode()), line.t
        if t_ms == UNREADABLE_MS:
            why = why_no_iso(line.t)
            raise ConfigError(
                f"{where}: t is {line.t!r}{f', and {why}' if why else ''}: t is in milliseconds since 1970, or in ISO "
                "8601 with an offset"
            )
    encoded = tuple((name, value.encode()) for name, value in headers.items())
    return Record(topic, crc32(key or b"") % partitions, number, t_ms, t_ms, key, bytes(line.value), encoded)


def _why_no_ms(t: int) -> str:
    """Return why a number is no time in ms, "" where it may be one."""
    if t < 0:
        return "before 1970"
    unit = UNITS.get(len(str(t)))
    return f"which is {unit}" if unit else ""


def _cut(value: bytes) -> str:
    text = value[:CUT].decode(errors="replace")
    return repr(text) if len(value) <= CUT else f"{text!r}…"
