"""How it looks what a feed's user must be told: warnings, each once, and advice.

Owns words and layout. Does not know what is wrong, nor where lines are printed.
"""

from collections.abc import Iterable, Mapping, Sequence

from rich.console import Console
from rich.text import Text

from streams.join.dates import Doubt

VANISHED = {  # counters of what became no sample, as a line has them
    "late": "late", "outcome_closed": "after a closed window", "orphan": "orphans", "early_refused":
    "early and too many", "prediction_too_late":
    "predictions too late", "outcome_too_late": "outcomes too late", "ahead": "dated ahead",
}  # fmt: skip


class Warned:
    """Prints a warning when it first comes; those of the start have been printed by then."""

    def __init__(self, console: Console) -> None:
        self._console, self._said = console, {"start"}

    def show(self, warnings: Iterable[Doubt]) -> None:
        """Print what is new."""
        for doubt in warnings:
            if doubt.about not in self._said:
                self._said.add(doubt.about)
                text = Text(f"warning: {doubt.text}", "yellow")
                self._console.print(text, highlight=False, soft_wrap=True)


def lines(warnings: Sequence[Doubt], advice: Sequence[str], held: Sequence[str] = ()) -> list[Text]:
    """Return all as lines, with what open transactions hold."""
    wrong = [*(one.text for one in warnings), *held]
    return [*(Text(f"warning: {text}", "yellow") for text in wrong), *(Text(text) for text in advice)]


def rejected(records: int, requests: int = 0) -> str:
    """Return the counts of what is in the dead letters as a part of a line, empty without any."""
    counts = [f"{records:,} rejected"] * bool(records) + [f"{requests:,} requests refused"] * bool(requests)
    return f", {', '.join(counts)} (`shadowstream dead list` shows why)" if counts else ""


def vanished(counters: Mapping[str, int]) -> str:
    """Return the counts of what became no sample as a part of a line, empty without any."""
    return "".join(f", {counters[name]:,} {said}" for name, said in VANISHED.items() if counters.get(name))
