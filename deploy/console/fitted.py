"""Rows that are never cut: a table where the terminal has room for it, else lines.

Owns which of the two. Does not know what the rows are.
"""

from collections.abc import Iterable, Iterator, Sequence

from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.markup import escape
from rich.table import Table
from rich.text import Text

WIDEST = 100_000


class Fitted:
    """A table where no word of it would be cut, else `lines`; by default a line for each cell, with its column's name.

    It is one thing to print, also inside others, and fits itself to the room that it gets.
    """

    def __init__(self, table: Table, lines: Sequence[RenderableType] = ()) -> None:
        self._table, self._lines = table, lines

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Yield what fits."""
        if _least(self._table, console, options) <= options.max_width:
            yield self._table
        else:
            yield from self._lines or _cells(self._table)


def _least(table: Table, console: Console, options: ConsoleOptions) -> int:
    return table.__rich_measure__(console, options.update(max_width=WIDEST)).minimum


def _cells(table: Table) -> Iterator[Text]:
    if table.title:
        yield Text(f"{table.title}:", overflow="fold")
    names, columns = [_text(column.header) for column in table.columns], [[*column.cells] for column in table.columns]
    for row in zip(*columns, strict=True):
        for at, (name, cell) in enumerate(zip(names, map(_text, row), strict=True)):
            if cell:
                yield Text(f"  {name}: {cell}" if at else cell, overflow="fold")


def _text(cell: RenderableType) -> str:
    text = cell if isinstance(cell, Text) else Text.from_markup(str(cell))
    return " ".join(text.plain.split())


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
    if _least(table, console, console.options) <= console.width:
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
