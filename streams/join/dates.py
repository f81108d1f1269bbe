"""Whether the times of a topic's first events can be right: what a shard keeps of them, and what is doubtful in it.

Owns the kinds of wrong times and their words. Does not know how a time is read, nor who shows a doubt.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import NamedTuple

import msgspec

from streams.readers import TimeSource

FIRST = 1_000  # offsets of a partition that are looked at
DOUBTED = 0.02  # a smaller share of wrong times is a wrong clock or two, and no wrong setting
YEAR_2000_MS, YEAR_1971_MS, YEAR_MS = 946_684_800_000, 31_536_000_000, 366 * 86_400_000
UNITS = {  # what a number may be, and its ms; a time is thought wrong where only another unit than its own makes a date
    "seconds": 1_000.0, "microseconds": 1e-3, "nanoseconds": 1e-6, "days": 86_400_000.0, "hours": 3_600_000.0,
    "minutes": 60_000.0,
}  # fmt: skip
SCALES = {"s": 1_000.0, "ms": 1.0, "us": 1e-3, "ns": 1e-6}  # ms in a `t_unit`
RIGHT, IN_1970, OLD, FUTURE = "right", "in 1970", "before 2000", "in the far future"


class Tally(NamedTuple):
    """How many times were of one kind, and one of them, in ms as it was read."""

    events: int
    example: int


Tallies = dict[str, Tally]  # by kind: RIGHT, IN_1970, OLD, FUTURE, or the unit that the number seems to have


class Doubt(msgspec.Struct, frozen=True):
    """A warning: `about` says in a few words what it is about, and stays the same while counts rise."""

    about: str
    text: str


def kind_of(t_ms: int, now_ms: int, latest_ms: int) -> str:
    """Return the kind of a time: right from the year 2000 to `latest_ms`, or which unit makes a date of it.

    >>> now_ms = 1_774_000_000_000
    >>> [kind_of(t, now_ms, now_ms) for t in (1_773_999_999_000, 1_774_000_000, 1_774_000_000_000_000, 20_532, 5)]
    ['right', 'seconds', 'microseconds', 'days', 'in 1970']
    """
    if YEAR_2000_MS <= t_ms <= latest_ms:
        return RIGHT
    for unit, scale in UNITS.items():
        if YEAR_2000_MS <= t_ms * scale <= now_ms + YEAR_MS:
            return unit
    if t_ms > latest_ms:
        return FUTURE
    return IN_1970 if t_ms < YEAR_1971_MS else OLD


def as_another_unit(t_ms: int, now_ms: int) -> str:
    """Return what a time would be in the unit that it seems to have, as the end of a reason; empty without one."""
    kind = kind_of(t_ms, now_ms, now_ms)
    return f"; as {kind} it would be {day(round(t_ms * UNITS[kind]))}" if kind in UNITS else ""


def add(kept: str, times: Iterable[int], now_ms: int, latest_ms: int) -> str:
    """Return what a shard keeps of a partition's first events, with some more."""
    tallies, found = read(kept), [(kind_of(t_ms, now_ms, latest_ms), t_ms) for t_ms in times]
    examples = dict(reversed(found))
    for kind, events in Counter(kind for kind, _ in found).items():
        before = tallies.get(kind, Tally(0, examples[kind]))
        tallies[kind] = before._replace(events=before.events + events)
    return msgspec.json.encode(tallies).decode() if tallies else kept


def read(kept: str) -> Tallies:
    """Return what a shard keeps of a partition's first events."""
    return msgspec.json.decode(kept, type=Tallies) if kept else {}


def doubts(topic: str, partitions: Iterable[str], source: TimeSource | None) -> list[Doubt]:
    """Return what is doubtful in a topic's first events, by what a shard keeps of its partitions.

    `source` says where the reader takes the time; None where it is not known.
    """
    tallies: Tallies = {}
    for kept in partitions:
        for kind, (count, example) in read(kept).items():
            before = tallies.get(kind, Tally(0, example))
            tallies[kind] = Tally(before.events + count, before.example)
    total = sum(tally.events for tally in tallies.values())
    found = {kind: tally for kind, tally in tallies.items() if tally.events >= max(1, DOUBTED * total)}
    units = [kind for kind in found if kind == RIGHT or kind in UNITS]
    if len(units) > 1:
        return [Doubt(f"{topic}: more than one unit", _mixed(topic, found, units, total, source))]
    return [
        Doubt(f"{topic}: {kind}", _wrong(topic, kind, tally, total, source))
        for kind, tally in found.items()
        if kind != RIGHT
    ]


def _mixed(topic: str, found: Mapping[str, Tally], units: list[str], total: int, source: TimeSource | None) -> str:
    def said(kind: str) -> str:
        count, example = found[kind]
        unit = source.unit or "ms" if source else "ms"
        return f"{count:,} look like {unit if kind == RIGHT else kind} ({_written(example, source)})"

    parts = " and ".join(said(kind) for kind in units)
    return (
        f"{topic}: {_name(source)} comes in more than one unit: of the first {total:,} events {parts}; a feed needs "
        'one: let its producers write the same, or ISO 8601 with an offset and t_unit="iso"'
    )


def _wrong(topic: str, kind: str, tally: Tally, total: int, source: TimeSource | None) -> str:
    where = kind if kind not in UNITS else IN_1970 if tally.example < YEAR_2000_MS else FUTURE
    which = f"all of the first {total:,}" if tally.events == total else f"{tally.events:,} of the first {total:,}"
    head = f"{topic}: {which} events lie {where}: {_name(source)}, as {_written(tally.example, source)}, is read as "
    return head + day(tally.example) + _remedy(kind, tally.example, source)


def _remedy(kind: str, example: int, source: TimeSource | None) -> str:
    if kind == FUTURE:
        return "; they are refused: correct that clock, or raise join.max_ahead_s"
    if kind not in UNITS:
        return "; name the field that holds the event's time as t, and its t_unit"
    seems = f"; as {kind} it would be {day(round(example * UNITS[kind]))}: "
    if source is None:
        return f"{seems}the reader must return milliseconds since 1970"
    meant = SCALES.get(source.unit or "ms", 1.0) * UNITS[kind]
    unit = next((name for name, scale in SCALES.items() if abs(scale / meant - 1) < 1e-9), None)
    if source.own or unit is None:
        return f"{seems}it must be in milliseconds since 1970, or name a field as t, with its t_unit"
    return f'{seems}set t_unit="{unit}"'


def _name(source: TimeSource | None) -> str:
    return source.name if source else "the time that the reader returns"


def _written(t_ms: int, source: TimeSource | None) -> str:
    """Return a time as the event has it, as far as that is known."""
    scale = SCALES.get(source.unit or "ms") if source else 1.0
    return f"{t_ms / scale:.0f}" if scale else day(t_ms)


def day(t_ms: int) -> str:
    """Return a time's date, UTC; one past the calendar as its year."""
    try:
        return datetime.fromtimestamp(t_ms / 1_000, UTC).strftime("%Y-%m-%d")
    except (ValueError, OverflowError, OSError):
        return f"the year {1970 + t_ms // 31_556_952_000:,}"
