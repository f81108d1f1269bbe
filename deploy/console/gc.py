"""What a registry keeps and for what, as a table."""

from collections import Counter

from rich.console import Console
from rich.table import Table

from deploy.registry.gc.sweep import Kept, Object

MEGABYTE = 1_000_000


def show(console: Console, kept: Kept) -> None:
    """Print what stays and for what, then what goes."""
    table = Table("name", "what", "MB", "kept for")
    for one in kept.stays:
        table.add_row(_short(one), one.what, _size(one), "; ".join(one.kept_for))
    for one in kept.goes:
        table.add_row(_short(one), one.what, _size(one), "nothing: it went" if kept.applied else "nothing: it goes")
    console.print(table)
    size = sum(one.size for one in kept.goes) / MEGABYTE
    what = ", ".join(f"{count} × {what}" for what, count in Counter(one.what for one in kept.goes).items())
    count = f"{len(kept.goes)} objects, {size:,.1f} MB" + (f" ({what})" if what else "")
    if kept.letting:
        console.print(kept.letting.line, highlight=False)
    console.print(f"{count}, deleted" if kept.applied else f"{count}, would go: shadowstream gc PIPELINE --apply")


def _short(one: Object) -> str:
    folder, _, name = one.name.partition("/")
    return f"{folder}/{name[:12]}"


def _size(one: Object) -> str:
    return f"{one.size / MEGABYTE:,.3f}"
