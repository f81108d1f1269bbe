"""Records that could not be read: listed, shown, and published again after a fix.

Owns finding and choosing the dead letters of a feed. What a letter is, and how it is published again, is
`streams/dead.py`'s. Does not know tables.
"""

from collections.abc import Sequence
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

from msgspec import Struct

from deploy.config import Settings
from deploy.operate.attach import Attached, attach
from streams import dead
from streams.errors import ConfigError
from streams.kafka import Sink
from streams.kafka.scan import records


class Row(Struct, frozen=True, kw_only=True):
    """One refused position, as `dead list --json` prints it.

    `t` is the event's time, `at` when it was refused; `bytes` is -1 where there was no value; `copies` is how many
    letters it has.
    """

    position: str
    end: int
    reason: str
    t: str
    bytes: int
    at: str
    copies: int
    replayed: bool


class Listing(Struct, frozen=True):
    """What `dead list --json` prints: counts of positions by kind of reason, their number, and the newest of them."""

    reasons: dict[str, int]
    positions: int
    rows: list[Row]


class Replayed(Struct, frozen=True):
    """What `dead replay --json` prints.

    `done` are the positions published again, `refused` those that cannot be, each with the reason, and `before` is how
    many of those chosen had been published again earlier.
    """

    done: list[str]
    refused: list[tuple[str, str]]
    before: int


def letters(attached: Attached) -> dict[str, dead.Refusal]:
    """Read all dead letters, by TOPIC/PARTITION/OFFSET."""
    with attached.source([attached.dead_letters]) as source:
        return dead.refusals(records(source))


def listed(path: Path, settings: Settings, limit: int = 50) -> Listing:
    """List what was refused: by reason, and the newest `limit` positions."""
    with attach(path, settings) as attached:
        by_position = letters(attached)
    newest = sorted(by_position.values(), key=lambda at: at.letter.at_ms)[max(0, len(by_position) - limit) :]
    return Listing(dead.reasons(by_position.values()), len(by_position), [row(at) for at in newest])


def letter(path: Path, settings: Settings, position: str) -> dead.Refusal:
    """Return all that is kept of TOPIC/PARTITION/OFFSET.

    Raises:
        ConfigError: there is no such letter.
    """
    with attach(path, settings) as attached:
        return _at(letters(attached), position)


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
        fresh = [at.letter for at in chosen if not at.replayed]
        with attached.source(sorted({letter.tp for letter in fresh})) as source:
            again = dead.replay(fresh, attached.readers.dead_letters, sink, source.read)
    return Replayed(again.done, again.refused, before=len(chosen) - len(fresh))


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
    )


def _sink(attached: Attached) -> Sink:
    return Sink(attached.broker, transactional_id=f"{attached.feed.name}.replay")


def _at(by_position: dict[str, dead.Refusal], position: str) -> dead.Refusal:
    if position not in by_position:
        raise ConfigError(f"there is no dead letter of {position!r}; `shadowstream dead list` lists them")
    return by_position[position]


def _moment(t_ms: int) -> str:
    """Return the time as text; a refused record's may be outside the calendar."""
    try:
        return datetime.fromtimestamp(t_ms / 1_000, UTC).isoformat(" ", "milliseconds")
    except (ValueError, OverflowError, OSError):
        return f"{t_ms} ms"
