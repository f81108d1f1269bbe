"""Requests and outcomes as they happened: from files of JSON lines, or from a broker's topics, in order of event time.

Owns the order. Reads topics from their starts to where they end now, and commits nothing. All events are in memory at
once. Does not know what becomes of an event.
"""

from collections.abc import Callable, Iterable, Sequence
from contextlib import closing
from operator import attrgetter
from pathlib import Path
from typing import NamedTuple

from deploy.backtest.lines import FORM, NO_TIME, cut, lines
from deploy.config import Settings, Topics
from deploy.pipeline import Pipeline
from streams.errors import ConfigError, MalformedEvent, Unreachable
from streams.events import Record
from streams.kafka import Source, Tp, partition_counts
from streams.kafka.reading.scan import records
from streams.kafka.topics import look
from streams.returned import as_outcome, as_request


class Happened(NamedTuple):
    """An event: when, by its own time, and the record of a request or an outcome, which its topic says."""

    t_ms: int
    record: Record


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
            f"{cut(record.value or b'')}"
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
