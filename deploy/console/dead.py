"""How dead letters look.

Owns words and layout. Does not know where the letters are.
"""

import msgspec
from rich.console import Console
from rich.markup import escape
from rich.table import Column, Table

from deploy.operate.dead import Listing, Replayed, row
from streams.dead import Refusal

ROW_BYTES = 16  # of a value shown in hex, a line


def show_list(console: Console, listing: Listing) -> None:
    """Print how many records could not be read, by reason, and the newest of them."""
    if not listing.positions:
        console.print("no dead letters: every record could be read")
        return
    console.print(_reasons(listing), _rows(listing))


def show_one(console: Console, at: Refusal) -> None:
    """Print all that is kept of one record that could not be read."""
    for key, value in msgspec.structs.asdict(row(at)).items():
        _line(console, f"{key}: {value}")
    if (record := at.letter.record) is not None:
        _line(console, f"key: {record.key!r}")
        for name, header in record.headers:
            _line(console, f"header {name}: {header!r}")
        _line(console, "value, the first part:" if at.letter.cut else "value:")
        _line(console, _text(record.value or b""))


def show_replayed(console: Console, replayed: Replayed) -> None:
    """Print how many records were published again, and why others were not."""
    done, refused = len(replayed.done), len(replayed.refused)
    _line(console, f"{done} published again now, {replayed.before} earlier; {refused} cannot be published again")
    for position, why in replayed.refused:
        _line(console, f"{position}: {why}")


def _line(console: Console, text: str) -> None:
    console.print(text, markup=False, highlight=False, soft_wrap=True)


def _reasons(listing: Listing) -> Table:
    table = Table("reason", "positions", title=f"{listing.positions:,} dead letters")
    for reason, count in listing.reasons.items():
        table.add_row(escape(reason), f"{count:,}")
    return table


def _rows(listing: Listing) -> Table:
    position = Column("position", overflow="fold")  # whole, however narrow the terminal: `dead show` takes it
    table = Table(position, "reason", "event time", "bytes", "refused at", "copies", "replayed")
    for one in listing.rows:
        size = "-" if one.bytes < 0 else f"{one.bytes:,}"
        replayed = "✓" if one.replayed else ""
        table.add_row(escape(one.position), escape(one.reason), one.t, size, one.at, str(one.copies), replayed)
    return table


def _text(value: bytes) -> str:
    """Return bytes as text where they are UTF-8, else in hex."""
    try:
        return value.decode()
    except UnicodeDecodeError:
        return "\n".join(value[i : i + ROW_BYTES].hex(" ") for i in range(0, len(value), ROW_BYTES))
