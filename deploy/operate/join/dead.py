"""Records that could not be read: listed, shown, and published again after a fix.

Owns finding and choosing the dead letters of a feed. What a letter is, and how it is published again, is
`streams/dead.py`'s. Does not know tables.
"""

from collections.abc import Iterator, Sequence
from contextlib import closing, suppress
from datetime import UTC, datetime
from pathlib import Path

from msgspec import Struct

from deploy.config import Settings
from deploy.operate.attach import Attached, attach
from streams import dead
from streams.dead.limit import held_letters
from streams.dead.refusals import find
from streams.errors import ConfigError, StoreRefused, Unreachable
from streams.events import Record
from streams.kafka import Sink, Source, Tp
from streams.kafka.reading.scan import records, scan
from streams.kafka.records import tp_of
from streams.moments import UNREADABLE_MS
from streams.offsets import Offsets


class Row(Struct, frozen=True, kw_only=True):
    """One refused position, as `dead list --json` prints it.

    `t` is the event's time, `at` when it was refused; `bytes` is -1 where there was no value; `copies` is how many
    letters it has. A letter that sums up stands for `count` positions from this one to before `end`.
    """

    position: str
    end: int
    reason: str
    t: str
    bytes: int
    at: str
    copies: int
    replayed: bool
    count: int = 1


class Listing(Struct, frozen=True):
    """What `dead list --json` prints: counts of positions by kind of reason, their number, and the newest letters.

    `letters` is how many letters those positions have, copies not counted.
    """

    reasons: dict[str, int]
    positions: int
    rows: list[Row]
    letters: int = 0


class Replayed(Struct, frozen=True):
    """What `dead replay --json` prints.

    `done` are the positions published again, `refused` those that cannot be, each with the reason, and `before` is how
    many of those chosen had been published again earlier.
    """

    done: list[str]
    refused: list[tuple[str, str]]
    before: int


def letters(attached: Attached) -> dict[str, dead.Refusal]:
    """Read all dead letters, by TOPIC/PARTITION/OFFSET, with what the store holds until a letter sums it up."""
    held = _held(attached)  # first: what becomes a letter meanwhile is then there twice, and counts once
    with attached.source([attached.dead_letters]) as source:
        return dead.refusals(records(source), held)


def _held(attached: Attached) -> list[dead.StoredLetter]:
    """Return the letters that are still to be written; none where the store does not answer, or has no such feed."""
    with suppress(Unreachable, StoreRefused):
        shard = attached.store.shard(attached.feed.name, 0)
        parts = [(tp_of(name), at.held) for name, at in shard.partitions.items()]
        return [letter for tp, held in parts for letter in held_letters(tp, held, shard.now_ms)]
    return []


def listed(path: Path, settings: Settings, limit: int = 50) -> Listing:
    """List what was refused: by reason, and the newest `limit` positions."""
    with attach(path, settings) as attached:
        by_position = letters(attached)
    newest = sorted(by_position.values(), key=lambda at: at.letter.at_ms)[max(0, len(by_position) - limit) :]
    reasons = dead.reasons(by_position.values())
    return Listing(reasons, sum(reasons.values()), [row(at) for at in newest], len(by_position))


def letter(path: Path, settings: Settings, position: str) -> dead.Refusal:
    """Return all that is kept of TOPIC/PARTITION/OFFSET; a letter that sums up keeps no bytes, but the topic may.

    Raises:
        ConfigError: there is no such letter.
    """
    with attach(path, settings) as attached:
        found = _at(letters(attached), position)
        if found.letter.offsets is None:
            return found
        tp, start = found.letter.tp, found.letter.start
        with attached.source([tp]) as source:
            record = source.read(tp, start)
        size = len(record.value or b"") if record else -1
        return found._replace(letter=found.letter._replace(record=record, size=size))


def replay(path: Path, settings: Settings, *, reason: str | None = None, positions: Sequence[str] = ()) -> Replayed:
    """Publish refused records again, each once: those at `positions`, or those whose reason contains `reason`.

    Raises:
        ConfigError: both or neither are set, or a position has no letter.
    """
    if (reason is None) == (not positions):
        raise ConfigError("choose records by --reason TEXT, or by TOPIC/PARTITION/OFFSET, not both")
    with attach(path, settings) as attached, closing(_sink(attached)) as sink:
        by_position = letters(attached)  # after the sink, which has ended what an earlier replay left open
        chosen = [_at(by_position, one) for one in dict.fromkeys(positions)] or [
            at for at in by_position.values() if reason is not None and reason in at.letter.reason
        ]
        fresh = [at for at in chosen if not at.replayed]
        with attached.source(sorted({at.letter.tp for at in fresh})) as source:
            again = dead.replay(fresh, attached.readers.dead_letters, sink, _Log(source))
    before = sum(len(at.again) if at.letter.offsets is not None else at.replayed for at in chosen)
    return Replayed(again.done, again.refused, before=before)


class _Log:
    """The topics of the refused records."""

    def __init__(self, source: Source) -> None:
        self._source = source

    def read(self, tp: Tp, offset: int) -> Record | None:
        return self._source.read(tp, offset)

    def read_all(self, tp: Tp, offsets: Offsets) -> Iterator[Record]:
        start, end = max(offsets.first, self._source.starts()[tp]), min(offsets.last + 1, self._source.ends()[tp])
        for part in scan(self._source, {tp: (start, end)} if start < end else {}):
            yield from (record for record in part.records if record.offset in offsets)


def row(at: dead.Refusal) -> Row:
    """Return a refused position as it is listed."""
    letter = at.letter
    return Row(
        position=letter.position,
        end=letter.end,
        reason=letter.reason,
        t=_moment(dead.letter_time(letter)) if letter.record else "unknown",
        bytes=letter.size,
        at=_moment(letter.at_ms),
        copies=at.copies,
        replayed=at.replayed,
        count=at.positions,
    )


def _sink(attached: Attached) -> Sink:
    return Sink(attached.broker, transactional_id=f"{attached.feed.name}.replay")


def _at(by_position: dict[str, dead.Refusal], position: str) -> dead.Refusal:
    if (found := find(by_position, position)) is None:
        raise ConfigError(f"there is no dead letter of {position!r}; `shadowstream dead list` lists them")
    return found


def _moment(t_ms: int) -> str:
    """Return the time as text; a refused record's may be outside the calendar."""
    try:
        return datetime.fromtimestamp(t_ms / 1_000, UTC).isoformat(" ", "milliseconds")
    except (ValueError, OverflowError, OSError):
        return "unknown" if t_ms == UNREADABLE_MS else f"{t_ms} ms"
