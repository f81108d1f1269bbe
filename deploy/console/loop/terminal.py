"""What is shown of a loop while it runs: a live view in a terminal, plain lines elsewhere.

Owns which of the two, and when something is printed. Does not know where the figures come from.
"""

import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime

from rich.console import Console
from rich.live import Live

from deploy.console.join.doubts import Warned, rejected, vanished
from deploy.console.loop.view import draw
from deploy.console.words import born, day, distrust_line, drift_line, fate_line, rate, values
from deploy.monitor import NO_ROW, View
from learners.evaluation.drift import Change

SINCE = re.compile(r"(since|for|takes|in) \d+ s")  # what changes in a line that was said


class Plain:
    """Log lines: one every few seconds, and one for each thing that happens to a candidate."""

    def __init__(self, console: Console, every_s: float = 5.0) -> None:
        self._console, self._every_s, self._shown_at = console, every_s, 0.0
        self._said: dict[int, str] = {}
        self._changes = set[Change]()
        self._distrusted = set[tuple[str, int]]()
        self._trouble = set[str]()
        self._warned = Warned(console)

    def show(self, view: View) -> None:
        """Print what is new."""
        self._warned.show(view.warnings)
        for candidate in view.candidates:
            decided = candidate.refused or candidate.number in view.verdicts
            said = fate_line(candidate, view) if decided else born(candidate)
            if self._said.get(candidate.number) != said:
                self._said[candidate.number] = said
                self._say(f"candidate {candidate.number} of {day(candidate.at_ms)}: {said}")
        for line in view.trouble:
            if SINCE.sub("", line) not in self._trouble:
                self._say(line)
        now = {SINCE.sub("", line) for line in view.trouble}
        for line in sorted(self._trouble - now):
            self._say(f"over: {line}")
        self._trouble = now
        for one in view.distrusted:
            if (one.source, one.since_ms) not in self._distrusted:
                self._distrusted.add((one.source, one.since_ms))
                self._say(distrust_line(one))
        for change in view.drift:
            if change not in self._changes:
                self._changes.add(change)
                self._say(f"changed: {drift_line(change)}")
        if time.monotonic() - self._shown_at < self._every_s:
            return
        self._shown_at = time.monotonic()
        served = view.metrics.total["served"] if view.metrics else NO_ROW
        self._say(
            f"{day(view.at_ms)}  {view.events:,} events, {rate(view)}/s, {view.waiting:,} waiting"
            f"{rejected(view.counters.get('rejected', 0), view.refused)}{vanished(view.counters)}, "
            f"{view.learned:,} learned, champion v{view.champions[-1].number if view.champions else '-'}, "
            f"served: {values(served.values)}"
        )

    def _say(self, line: str) -> None:
        self._console.print(f"{datetime.now():%H:%M:%S}  {line}", highlight=False, soft_wrap=True)


class Terminal:
    """The live view."""

    def __init__(self, live: Live) -> None:
        self._live = live

    def show(self, view: View) -> None:
        """Draw the view again."""
        self._live.update(draw(view))


@contextmanager
def screen(console: Console) -> Iterator[Plain | Terminal]:
    """Yield what fits the output: a live view in a terminal, lines elsewhere."""
    if not console.is_terminal:
        yield Plain(console)
        return
    with Live(console=console, refresh_per_second=4, transient=True) as live:
        yield Terminal(live)
