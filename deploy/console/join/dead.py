"""How dead letters look.

Owns words and layout. Does not know where the letters are.
"""

from collections.abc import Mapping

import msgspec
from rich.console import Console

from deploy.console.fitted import line, show
from deploy.operate.join.dead import Listing, Replayed, Row, row
from streams.dead import Refusal

ROW_BYTES = 16  # of a value shown in hex, a line


COLUMNS = ("position", "reason", "positions", "event time", "bytes", "refused at", "copies", "replayed")


def show_list(console: Console, listing: Listing) -> None:
    """Print how many records could not be read, by reason, and the newest of them."""
    if not listing.letters:
        console.print("no dead letters: every record could be read")
        return
    title = f"{listing.letters:,} dead letters"
    if listing.positions != listing.letters:
        title += f" of {listing.positions:,} positions"
    show_reasons(console, listing.reasons, title)
    show(console, COLUMNS, [_cells(one) for one in listing.rows], text=("reason",))


def show_reasons(console: Console, reasons: Mapping[str, int], title: str) -> None:
    """Print how many positions were refused for each kind of reason."""
    rows = [(reason, f"{count:,}") for reason, count in reasons.items()]
    show(console, ("reason", "positions"), rows, text=("reason",), title=title)


def show_one(console: Console, at: Refusal) -> None:
    """Print all that is kept of one record that could not be read."""
    for key, value in msgspec.structs.asdict(row(at)).items():
        line(console, f"{key}: {value}")
    if at.letter.offsets is not None:
        line(console, "a letter sums it up: its bytes are in its topic alone, while that keeps them")
    if (record := at.letter.record) is not None:
        line(console, f"key: {record.key!r}")
        for name, header in record.headers:
            line(console, f"header {name}: {header!r}")
        line(console, "value, the first part:" if at.letter.cut else "value:")
        line(console, _text(record.value or b""))


def show_replayed(console: Console, replayed: Replayed) -> None:
    """Print how many records were published again, and why others were not."""
    done, refused = len(replayed.done), len(replayed.refused)
    line(console, f"{done} published again now, {replayed.before} earlier; {refused} cannot be published again")
    for position, why in replayed.refused:
        line(console, f"{position}: {why}")


def _cells(one: Row) -> list[str]:
    many, size = f"{one.count:,}" if one.count > 1 else "", f"{one.bytes:,}" if one.bytes >= 0 else "-"
    return [one.position, one.reason, many, one.t, size, one.at, str(one.copies), "✓" if one.replayed else ""]


def _text(value: bytes) -> str:
    """Return bytes as text where they are UTF-8, else in hex."""
    try:
        return value.decode()
    except UnicodeDecodeError:
        return "\n".join(value[i : i + ROW_BYTES].hex(" ") for i in range(0, len(value), ROW_BYTES))
