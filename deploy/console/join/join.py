"""What is shown of a join without a model: a live line in a terminal, plain lines elsewhere.

Owns words and layout. Does not know where the figures come from.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console, Group
from rich.live import Live
from rich.text import Text

from deploy.console.join.doubts import Warned, lines, rejected, vanished
from deploy.console.words import day
from deploy.run.view import JoinView

PLAIN_EVERY_S = 5.0


def line(view: JoinView) -> str:
    """Return one line: how far the join is."""
    return (
        f"{view.feed} at {day(view.at_ms)}: {view.events:,} events{rejected(view.rejected)}{vanished(view.counters)}, "
        f"{view.waiting:,} waiting, "
        f"{view.samples:,} samples, {view.unread:,} unread, lag {view.lag_ms / 1_000:,.0f} s"
        f"{f', {len(view.held)} partitions held by open transactions' if view.held else ''}"
    )


@contextmanager
def shown(console: Console) -> Iterator[Callable[[JoinView], None]]:
    """Yield a function that shows a look: in place in a terminal, else a line every `PLAIN_EVERY_S`; warnings once."""
    warned = Warned(console)
    if console.is_terminal:
        with Live(console=console, refresh_per_second=4, transient=True) as live:

            def draw(view: JoinView) -> None:
                warned.show(view.warnings)
                live.update(Group(Text(line(view)), *lines([], view.advice)))

            yield draw
        return
    shown_s = 0.0

    def show(view: JoinView) -> None:
        nonlocal shown_s
        warned.show(view.warnings)
        if time.monotonic() - shown_s >= PLAIN_EVERY_S:
            shown_s = time.monotonic()
            console.print(line(view), highlight=False, soft_wrap=True)

    yield show


def show_look(console: Console, view: JoinView, head: str = "") -> None:
    """Print one look: its line, what is wrong, and what to change."""
    console.print(f"{head}{line(view)}", highlight=False, soft_wrap=True)
    for text in lines(view.warnings, view.advice, view.held):
        console.print(text, highlight=False, soft_wrap=True)
