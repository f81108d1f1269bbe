"""From polled records to steps: decodes them, refuses some and says why, cuts to size, fills one step per shard.

Pure functions over records; knows neither broker nor store. This is the hot path: parallel lists, and no new object for
an event.
"""

from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import NamedTuple
from zlib import crc32

from streams.dead import Letter
from streams.errors import ConfigError, MalformedEvent, Skipped, Unreachable
from streams.events import Event, Record
from streams.formats.values import FARTHEST
from streams.join.dates import as_another_unit
from streams.join.fits import ID_BYTES, ID_COST, Takes, check_content, check_label, check_summable, id_fault, whole
from streams.join.step import Move, Rules, Step, outcome_entry, prediction_entry, recent
from streams.kafka import Polled, crc
from streams.kafka.records import tp_name
from streams.readers import CHECKED, Reader, why_no_time
from streams.returned import raised, why

ANYTHING = Takes()
UNREAD = object()
LAST_TIME_MS = 1 << 50  # the year 37648; sums of times stay exact in Lua's doubles


@dataclass(frozen=True, kw_only=True)
class Readers:
    """The join's topics, how a record of the first two becomes an event, and what the samples' reader takes of it."""

    predictions: str
    outcomes: str
    dead_letters: str
    prediction: Reader[Event]
    outcome: Reader[Event]
    takes: Takes = ANYTHING


class Ahead(NamedTuple):
    """A record that was refused because it is dated too far ahead."""

    offset: int
    t_ms: int


@dataclass
class Batch:
    """One partition's polled range, decoded; the lists have one element per event.

    `held` is what shard 0 is to hold of refused positions, None if that does not change.
    """

    polled: Polled
    outcomes: bool
    letters: list[Letter]
    offsets: list[int] = field(default_factory=list)
    shards: list[int] = field(default_factory=list)
    ids: list[str] = field(default_factory=list)
    times: list[int] = field(default_factory=list)
    items: list[str] = field(default_factory=list)
    bodies: list[str] = field(default_factory=list)
    ahead: list[Ahead] = field(default_factory=list)
    held: str | None = None

    @cached_property
    def recent(self) -> list[int]:
        """What stands for the times of all events."""
        return recent(self.times)


def first_times(batch: Batch, start: int, end: int) -> list[int]:
    """Return the times of a batch's records from `start` to before `end`, also of those refused as too far ahead."""
    known = zip(batch.offsets, batch.times, strict=True)
    times = [t_ms for offset, t_ms in known if start <= offset < end]
    return times + [one.t_ms for one in batch.ahead if start <= one.offset < end]


def decode(polled: Polled, readers: Readers, shards: int, rules: Rules, latest_ms: int) -> Batch:
    """Read a partition's records; one that cannot be read, or whose time is after `latest_ms`, becomes a letter.

    One that its reader skips is in no list: its offset counts as a hole.

    Raises:
        Unreachable, ConfigError: a reader needs a service that does not answer or refuses us; no event is at fault.
    """
    tp = polled.tp
    outcomes = tp.topic == readers.outcomes
    read = readers.outcome if outcomes else readers.prediction
    letters = [Letter(tp, *rejected, None) for rejected in polled.rejected]
    batch = Batch(polled, outcomes, letters)
    add_offset, add_id, add_time = batch.offsets.append, batch.ids.append, batch.times.append
    add_item, add_body = batch.items.append, batch.bodies.append
    make, span = (outcome_entry, rules.window_ms + rules.keep_ms) if outcomes else (prediction_entry, rules.window_ms)
    latest_ms, takes = min(latest_ms, LAST_TIME_MS), readers.takes
    numbers = outcomes and bool(takes.numbers)
    fits = takes.label_bytes if outcomes else takes.content_bytes - ID_COST * ID_BYTES
    check = _check(outcomes, numbers or getattr(read, CHECKED, False), rules)
    for record in polled.records:
        event: object = UNREAD
        try:
            event = key, t_ms, body = read(record)
            if type(t_ms) is not int:
                t_ms = whole(t_ms)
            bytes_ = key.encode()
            if not (bytes_ and len(bytes_) <= ID_BYTES and 0 <= t_ms <= latest_ms):
                if t_ms > latest_ms:
                    batch.ahead.append(Ahead(record.offset, min(t_ms, FARTHEST)))
                raise MalformedEvent(_why_refused(record, len(bytes_), t_ms, latest_ms))
            if numbers or len(body) > fits:
                takes.label(body) if outcomes else takes.content(key, body)
            if check:
                check(body)
            content = body.decode()
            item, text = make(key, t_ms, content, span)
        except (Unreachable, ConfigError):
            raise
        except Skipped:
            continue
        except (Exception, SystemExit) as wrong:  # noqa: BLE001 a user's reader may raise anything; the record is kept
            reason = raised(read, wrong) if event is UNREAD else why(read, event, wrong)
            letters.append(Letter(tp, record.offset, record.offset + 1, reason, record))
            continue
        add_offset(record.offset)
        add_id(key)
        add_time(t_ms)
        add_item(item)
        add_body(text)
    batch.shards = [crc32(key.encode()) % shards for key in batch.ids] if shards > 1 else [0] * len(batch.ids)
    return batch


def _check(outcomes: bool, known: bool, rules: Rules) -> Callable[[bytes], None] | None:
    """Return what must be looked at in each body; None where it is known to be one JSON value, and that is enough."""
    if outcomes and rules.reduce == "sum":
        return check_summable
    return None if known else check_label if outcomes else check_content


def _why_refused(record: Record, length: int, t_ms: int, latest_ms: int) -> str:
    if not 0 < length <= ID_BYTES:
        return id_fault(length)
    if abs(t_ms) > FARTHEST:
        return f"the time is out of range: a number of about {round(abs(t_ms).bit_length() / 3.33):,} digits"
    seems = as_another_unit(t_ms, latest_ms)
    if 0 <= t_ms <= LAST_TIME_MS:
        return f"time {t_ms} ms is too far ahead; the latest accepted now is {latest_ms}{seems}"
    return why_no_time(record, t_ms) + seems


def cut(polled: Sequence[Polled], most_bytes: int) -> Iterator[list[Polled]]:
    """Cut what was polled into parts of at most `most_bytes` (or one larger record), each partition in order."""
    part: list[Polled] = []
    size = 0
    for p in polled:
        start, first = p.start, 0
        for i, record in enumerate(p.records):
            length = len(record.value or b"") + len(record.key or b"")
            if size and size + length > most_bytes:
                part.append(Polled(p.tp, start, record.offset, p.records[first:i], []))
                yield part
                part, size, start, first = [], 0, record.offset, i
            size += length
        part.append(Polled(p.tp, start, p.end, p.records[first:], p.rejected))
    if part:
        yield part


def fill(step: Step, shard: int, shards: int, batch: Batch, next_: int) -> None:
    """Add to a shard's step what it has not yet applied of a batch; `next_` is the next offset that it will apply."""
    polled = batch.polled
    start = max(polled.start, next_)
    if start >= polled.end:
        return
    move = _move(shard, batch, start)
    step.moves.append(move)
    if shards == 1 and start == polled.start:
        own: Sequence[int] = range(len(batch.ids))
        ids, times, items, bodies = batch.ids, batch.times, batch.items, batch.bodies
    else:
        own = [i for i, of in enumerate(batch.shards) if of == shard and batch.offsets[i] >= start]
        ids, times = [batch.ids[i] for i in own], [batch.times[i] for i in own]
        items, bodies = [batch.items[i] for i in own], [batch.bodies[i] for i in own]
    move.records = len(own)
    step.which += [len(step.moves)] * len(own)
    step.ids += ids
    step.times += times
    step.items += items
    step.bodies += bodies


def _move(shard: int, batch: Batch, start: int) -> Move:
    polled = batch.polled
    move = Move(tp_name(polled.tp), start, polled.end, outcomes=int(batch.outcomes))
    if polled.records:
        move.last, move.crc = polled.records[-1].offset, crc(polled.records[-1])
    if batch.times:
        first = bisect_left(batch.offsets, start)
        times = batch.times[first:] if first else batch.times
        move.t_ms, move.recent = max(times, default=-1), batch.recent if times is batch.times else recent(times)
    if shard == 0:  # every shard passes every offset; one without an event is counted once
        seen = len(batch.offsets) - bisect_left(batch.offsets, start)
        move.rejected = sum(max(0, letter.end - max(letter.start, start)) for letter in batch.letters)
        move.holes = polled.end - start - seen - move.rejected
        move.ahead = sum(one.offset >= start for one in batch.ahead)
        move.held = batch.held
    return move
