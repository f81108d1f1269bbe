"""What is said when a signal ends a run: how far it was, and what the next start finds.

Owns the words. Does not know where the figures come from.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from deploy.run.left import Left

SHOWN = 8  # positions
Seen = Callable[[], tuple[str, Left | None]]


@contextmanager
def told(say: Callable[[str], None], what: str, seen: Seen = lambda: ("", None)) -> Iterator[None]:
    """Where a signal ends the `with`, say so, once, before anything is closed."""
    try:
        yield
    except KeyboardInterrupt as wrong:
        if not getattr(wrong, "told", False):
            wrong.told = True  # type: ignore[attr-defined]
            for line in ended(what, *seen()):
                say(line)
        raise


def ended(what: str, seen: str, left: Left | None) -> list[str]:
    """Return the lines; `seen` is the last line of the live view.

    >>> ended("the join", "", None)
    ['interrupted: the join has not begun, and has changed nothing that the next start would miss']
    """
    if left is None:
        return [f"interrupted: {what} has not begun, and has changed nothing that the next start would miss"]
    return [f"interrupted: {what} ends. {seen}", _next(left)]


def _next(left: Left) -> str:
    places = [f"{tp.replace(':', '/')} at {offset:,}" for tp, offset in left.positions.items()]
    more = f" and {len(places) - SHOWN} more" if len(places) > SHOWN else ""
    samples = f"samples: {left.samples} ({left.unread:,} unread)"
    if not left.lasting:
        return (
            "the embedded services end with it, and with them the log: the next start begins anew, with --fresh; "
            f"{left.waiting:,} predictions waited for their outcome; {samples}"
        )
    return (
        f"the next start goes on at {', '.join(places[:SHOWN])}{more}; {left.waiting:,} predictions wait for their "
        f"outcome in the store; {samples}"
    )
