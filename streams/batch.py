"""A polled batch on its way into steps: decoding, what is refused and why, cutting to size, one step per shard.

Pure functions over records; knows neither broker nor store.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple
from zlib import crc32

from streams.errors import MalformedEvent
from streams.events import Outcome, Prediction, Reader, Record, encode
from streams.kafka import Polled, Tp, crc
from streams.step import Move, Step
from streams.store import name

ID_BYTES = 512  # an id is held up to four times
LAST_TIME_MS = 1 << 50  # the year 37648; sums of times stay exact in Lua's doubles


@dataclass(frozen=True, kw_only=True)
class Readers:
    """The join's topics, and how a record of the first two becomes an event."""

    predictions: str
    outcomes: str
    dead_letters: str
    prediction: Reader[Prediction]
    outcome: Reader[Outcome]


class Event(NamedTuple):
    """A decoded event: its offset, the shard it belongs to, and what the step needs of it."""

    offset: int
    shard: int
    id: str
    t_ms: int
    body: str


class Letter(NamedTuple):
    """A refused range of positions (from, to), why, and its record where the bytes could be read."""

    tp: Tp
    start: int
    end: int
    reason: str
    record: Record | None


class Batch(NamedTuple):
    """One partition's polled range, decoded."""

    polled: Polled
    outcomes: bool
    events: list[Event]
    letters: list[Letter]


def decode(polled: Polled, readers: Readers, shards: int, latest_ms: int) -> Batch:
    """Read a partition's records; what cannot be read, or lies after `latest_ms`, becomes a letter."""
    tp = polled.tp
    outcomes = tp.topic == readers.outcomes
    read = readers.outcome if outcomes else readers.prediction
    events, letters = [], [Letter(tp, start, end, reason, None) for start, end, reason in polled.rejected]
    for record in polled.records:
        try:
            events.append(_event(record, read(record), shards, latest_ms))
        except Exception as wrong:  # noqa: BLE001 a user's reader may raise anything; the record is dead-lettered
            letters.append(Letter(tp, record.offset, record.offset + 1, reason_of(wrong), record))
    return Batch(polled, outcomes, events, letters)


def reason_of(wrong: Exception) -> str:
    """Say why a record was refused: a reader's own words, or the mistake that it made."""
    return str(wrong) if isinstance(wrong, MalformedEvent) else f"{type(wrong).__name__}: {wrong}"


def _event(record: Record, event: Prediction | Outcome, shards: int, latest_ms: int) -> Event:
    numbers = (event.label,) if isinstance(event, Outcome) else (*event.output, *event.intercept)
    if not all(map(math.isfinite, numbers)):
        raise MalformedEvent(f"a number is not finite: {numbers}")
    key = event.id.encode()
    if not 0 < len(key) <= ID_BYTES:
        raise MalformedEvent(f"an id has 1 to {ID_BYTES} bytes, this one {len(key)}")
    if not 0 <= event.t <= LAST_TIME_MS:
        raise MalformedEvent(f"time {event.t} ms is out of range")
    if event.t > latest_ms:
        raise MalformedEvent(f"time {event.t} ms is too far ahead; the latest welcome now is {latest_ms}")
    return Event(record.offset, crc32(key) % shards, event.id, event.t, encode(event).decode())


def cut(polled: Sequence[Polled], most_bytes: int) -> Iterator[list[Polled]]:
    """Cut what was polled into parts of at most `most_bytes` (or one record), in the order of each partition."""
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


def fill(step: Step, shard: int, batch: Batch, position: int) -> None:
    """Add to a shard's step what it has not applied of a batch; `position` is where the shard stands."""
    polled = batch.polled
    start = max(polled.start, position)
    if start >= polled.end:
        return
    step.moves.append(_move(shard, batch, start))
    index = len(step.moves)
    for event in batch.events:
        if event.shard == shard and event.offset >= start:
            step.which.append(index)
            step.ids.append(event.id)
            step.times.append(event.t_ms)
            step.bodies.append(event.body)
            step.moves[-1].records += 1


def _move(shard: int, batch: Batch, start: int) -> Move:
    polled = batch.polled
    move = Move(name(polled.tp), start, polled.end, outcomes=int(batch.outcomes))
    if polled.records:
        move.last, move.crc = polled.records[-1].offset, crc(polled.records[-1])
    move.t = max((event.t_ms for event in batch.events), default=-1)
    if shard == 0:  # every shard passes every position; what belongs to none is counted once
        seen = sum(event.offset >= start for event in batch.events)
        move.rejected = sum(max(0, letter.end - max(letter.start, start)) for letter in batch.letters)
        move.holes = polled.end - start - seen - move.rejected
    return move
