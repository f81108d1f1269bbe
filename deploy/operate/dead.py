"""`shadowstream dead`: what could not be read, listed, shown, and brought back after a fix.

Owns the commands and how their results look. What a letter is, and what replaying means, is `streams/dead.py`'s.
"""

from collections.abc import Sequence
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import msgspec
from msgspec import Struct
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from deploy.config import Settings
from deploy.operate.attach import Place, opened
from streams import dead
from streams.errors import ConfigError
from streams.kafka import Sink
from streams.kafka.scan import records

ROW_BYTES = 16  # of a value shown in hex, a line


class Row(Struct, frozen=True, kw_only=True):
    """One refused position, as `dead list --json` gives it; `bytes` is -1 where there was no value."""

    position: str
    end: int
    reason: str
    t: str
    bytes: int
    at: str
    copies: int
    replayed: bool


class Listing(Struct, frozen=True):
    """What `dead list --json` prints: positions by kind of reason, how many there are, and the newest of them."""

    reasons: dict[str, int]
    positions: int
    rows: list[Row]


def letters(place: Place) -> dict[str, dead.Position]:
    """Read all dead letters, by position."""
    with place.source([place.dead_letters]) as source:
        return dead.positions(records(source))


def show_list(path: Path, settings: Settings, *, limit: int = 50, as_json: bool = False) -> None:
    """List what was refused: by reason first, then the newest `limit` positions."""
    with opened(path, settings) as place:
        found = letters(place)
    newest = sorted(found.values(), key=lambda at: at.letter.at_ms)[max(0, len(found) - limit) :]
    listing = Listing(dead.reasons(found.values()), len(found), [_row(at) for at in newest])
    if as_json:
        print(msgspec.json.encode(listing).decode())  # noqa: T201 this is the output
        return
    console = Console()
    console.print(_reasons(listing), _rows(listing))


def show_one(path: Path, settings: Settings, position: str) -> None:
    """Show all that is kept of TOPIC/PARTITION/OFFSET.

    Raises:
        ConfigError: there is no such letter.
    """
    with opened(path, settings) as place:
        at = _found(letters(place), position)
    console = Console(soft_wrap=True, highlight=False)
    for key, value in msgspec.structs.asdict(_row(at)).items():
        console.print(f"{key}: {value}", markup=False)
    if (record := at.letter.record) is not None:
        console.print(f"key: {record.key!r}", markup=False)
        for name, header in record.headers:
            console.print(f"header {name}: {header!r}", markup=False)
        console.print("value, the first part:" if at.letter.cut else "value:")
        console.print(_text(record.value or b""), markup=False)


def replay(
    path: Path, settings: Settings, *, reason: str | None = None, positions: Sequence[str] = (), as_json: bool = False
) -> dead.Revival:
    """Publish refused records again, those named or those whose reason holds `reason`, each once.

    Raises:
        ConfigError: neither was given, or a position has no letter.
    """
    if (reason is None) == (not positions):
        raise ConfigError("say which: --reason TEXT, or positions as TOPIC/PARTITION/OFFSET; not both")
    with opened(path, settings) as place, closing(_sink(place)) as sink:
        found = letters(place)  # after the sink, which has ended what an earlier replay left open
        chosen = [_found(found, one) for one in dict.fromkeys(positions)] or [
            at for at in found.values() if reason is not None and reason in at.letter.reason
        ]
        fresh = [at.letter for at in chosen if not at.replayed]
        with place.source(sorted({letter.tp for letter in fresh})) as source:
            done = dead.replay(fresh, place.readers.dead_letters, sink, source.read)
    _tell(done, len(chosen) - len(fresh), as_json=as_json)
    return done


def _sink(place: Place) -> Sink:
    return Sink(place.broker, transactional_id=f"{place.feed.name}.replay")


def _found(found: dict[str, dead.Position], position: str) -> dead.Position:
    if position not in found:
        raise ConfigError(f"there is no dead letter of {position!r}; `shadowstream dead list` shows which there are")
    return found[position]


def _tell(done: dead.Revival, before: int, *, as_json: bool) -> None:
    if as_json:
        print(msgspec.json.encode({**done._asdict(), "before": before}).decode())  # noqa: T201 this is the output
        return
    console = Console(soft_wrap=True, highlight=False)
    console.print(f"{len(done.done)} published again, {before} had been before, {len(done.refused)} cannot be")
    for position, why in done.refused:
        console.print(f"{position}: {why}", markup=False)


def _row(at: dead.Position) -> Row:
    letter = at.letter
    return Row(
        position=letter.place,
        end=letter.end,
        reason=letter.reason,
        t=_moment(dead.letter_time(letter)) if letter.record else "unknown",
        bytes=letter.size,
        at=_moment(letter.at_ms),
        copies=at.copies,
        replayed=at.replayed,
    )


def _moment(t_ms: int) -> str:
    """Give the time in words; a refused record's may be no time at all."""
    try:
        return datetime.fromtimestamp(t_ms / 1_000, UTC).isoformat(" ", "milliseconds")
    except (ValueError, OverflowError, OSError):
        return f"{t_ms} ms"


def _reasons(listing: Listing) -> Table:
    table = Table("reason", "positions", title=f"{listing.positions:,} dead letters")
    for reason, count in listing.reasons.items():
        table.add_row(escape(reason), f"{count:,}")
    return table


def _rows(listing: Listing) -> Table:
    table = Table("position", "reason", "event time", "bytes", "when", "copies", "replayed")
    for row in listing.rows:
        size = "-" if row.bytes < 0 else f"{row.bytes:,}"
        replayed = "✓" if row.replayed else ""
        table.add_row(escape(row.position), escape(row.reason), row.t, size, row.at, str(row.copies), replayed)
    return table


def _text(value: bytes) -> str:
    """Give bytes as text where they are, else in hex."""
    try:
        return value.decode()
    except UnicodeDecodeError:
        return "\n".join(value[i : i + ROW_BYTES].hex(" ") for i in range(0, len(value), ROW_BYTES))
