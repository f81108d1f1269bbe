"""Rows that are never cut: a table where the terminal has room for it, else lines.

Owns which of the two. Does not know what the rows are.
"""

from collections.abc import Iterable, Sequence

from rich.console import Console
from rich.markup import escape
from rich.table import Table

WIDEST = 100_000


def show(
    console: Console, columns: Sequence[str], rows: Iterable[Sequence[str]], text: Sequence[str] = (), title: str = ""
) -> None:
    """Print rows; of the columns in `text` the words may wrap, all others stand whole on one line.

    Where that does not fit, each row's first cell stands on a line of its own, to be copied as it is, and the others
    follow, each with its column's name.
    """
    rows = [*rows]
    table = Table(title=title or None)
    for column in columns:
        table.add_column(column, no_wrap=column not in text)
    for row in rows:
        table.add_row(*map(escape, row))
    if table.__rich_measure__(console, console.options.update(max_width=WIDEST)).minimum <= console.width:
        console.print(table)
        return
    if title:
        line(console, f"{title}:")
    for first, *others in rows:
        line(console, first)
        for column, cell in zip(columns[1:], others, strict=True):
            if cell:
                line(console, f"  {column}: {cell}")


def line(console: Console, text: str) -> None:
    """Print a line as it is; a terminal wraps it, and nothing is cut."""
    console.print(text, markup=False, highlight=False, soft_wrap=True)
