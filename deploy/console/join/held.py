"""Sources whose samples are held, as tables."""

from datetime import UTC, datetime

from rich.console import Console
from rich.table import Table

from deploy.operate.registry.held import Listing


def show(console: Console, listing: Listing) -> None:
    """Print what waits for a person, and what people have said."""
    if not listing.waiting:
        console.print("no samples are held")
    else:
        table = Table("source", "samples", "first", "last", "why")
        for of in listing.waiting:
            table.add_row(of.source, f"{of.samples:,}", _day(of.first_ms), _day(of.last_ms), of.why)
        console.print(table)
    for one in listing.rulings:
        console.print(f"{_day(one.at_ms)}: {one.said} {one.source}, by {one.who}: {one.why}", soft_wrap=True)


def _day(t_ms: int) -> str:
    return datetime.fromtimestamp(t_ms / 1_000, UTC).isoformat(" ", "minutes").removesuffix("+00:00")
