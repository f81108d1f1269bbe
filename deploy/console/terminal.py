"""What one sees while the loop runs, and the report at its end: a live view in a terminal, plain lines elsewhere.

Owns words, tables and layout. Does not know where the figures come from.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.panel import Panel
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from deploy.monitor import NO_ROW, View
from deploy.registry.records import Candidate, Metrics
from learners.evaluation.gate import Decision

DAY_MS = 86_400_000
NAMES = {"frozen": "frozen first model", "served": "served champion", "shadow": "shadow"}
SHOWN = 10  # candidates in the live view


def day(t_ms: int) -> str:
    """Give the UTC date."""
    return datetime.fromtimestamp(t_ms / 1000, UTC).strftime("%Y-%m-%d") if t_ms > 0 else "the start"


def cell(value: float | None) -> str:
    """Give a metric."""
    return "-" if value is None else f"{value:.4f}"


def rate(view: View) -> str:
    """Give events a second."""
    return "-" if view.events_per_second is None else f"{view.events_per_second:,.0f}"


def fate(candidate: Candidate, view: View) -> str:
    """Say in a line what became of a candidate, with the gate's evidence."""
    if candidate.refused:
        return f"refused: {candidate.refused}"
    verdict = view.verdicts.get(candidate.number)
    if verdict is None:
        if (trial := view.trial) and trial.candidate == candidate.number:
            return (
                f"evaluating: {trial.samples:,} samples, evidence e^{trial.log_wealth:.1f} of e^{trial.log_needed:.1f}"
            )
        return "waiting for evaluation"
    evidence = f"{verdict.samples:,} samples, e^{verdict.log_wealth:.1f}, gain {1000 * verdict.gain:+.1f} mnats"
    if verdict.decision is Decision.PROVEN:
        number = next((c.number for c in view.champions if c.candidate == candidate.number), None)
        return f"promoted on {day(verdict.at_ms)} as v{number}: {evidence}"
    return f"refused ({verdict.decision}) on {day(verdict.at_ms)}: {evidence}"


class Plain:
    """Log lines: one a few seconds, and one for each thing that happens."""

    def __init__(self, console: Console, every_s: float = 5.0) -> None:
        self._console, self._every_s, self._shown_at = console, every_s, 0.0
        self._said: dict[int, str] = {}

    def show(self, view: View) -> None:
        """Say what is new."""
        for candidate in view.candidates:
            decided = candidate.refused or candidate.number in view.verdicts
            said = fate(candidate, view) if decided else "distilled"
            if self._said.get(candidate.number) != said:
                self._said[candidate.number] = said
                self._say(f"candidate {candidate.number} of {day(candidate.at_ms)}: {said}")
        if time.monotonic() - self._shown_at < self._every_s:
            return
        self._shown_at = time.monotonic()
        served = view.metrics.total["served"] if view.metrics else NO_ROW
        self._say(
            f"{day(view.at_ms)}  {view.events:,} events, {rate(view)}/s, {view.waiting:,} waiting, "
            f"{view.learned:,} learned, champion v{view.champions[-1].number if view.champions else '-'}, "
            f"served AUC {cell(served[2])}, log loss {cell(served[1])}"
        )

    def _say(self, line: str) -> None:
        self._console.print(f"{datetime.now():%H:%M:%S}  {line}", highlight=False, soft_wrap=True)


class Terminal:
    """The live view."""

    def __init__(self, live: Live) -> None:
        self._live = live

    def show(self, view: View) -> None:
        """Draw it."""
        self._live.update(draw(view))


@contextmanager
def screen(console: Console) -> Iterator[Plain | Terminal]:
    """Give what fits where we print: a live view in a terminal, lines elsewhere."""
    if not console.is_terminal:
        yield Plain(console)
        return
    with Live(console=console, refresh_per_second=4, transient=True) as live:
        yield Terminal(live)


def draw(view: View) -> Panel:
    """Lay the live view out."""
    head = Table.grid(padding=(0, 2), expand=True)
    head.add_column(ratio=1)
    head.add_column(justify="right")
    if view.share is not None:
        head.add_row(ProgressBar(total=1.0, completed=view.share), f"{day(view.at_ms)}  {100 * view.share:5.1f} %")
    champion = view.champions[-1] if view.champions else None
    age = (
        f"v{champion.number}, {max(0, view.at_ms - champion.at_ms) // DAY_MS} days"
        if champion and champion.at_ms
        else "v0"
    )
    facts = Table.grid(padding=(0, 3))
    facts.add_row("events", f"{view.events:,}", "events a second", rate(view), "champion", age)
    facts.add_row("waiting", f"{view.waiting:,}", "samples learned", f"{view.learned:,}", "unread", f"{view.unread:,}")
    facts.add_row("join lag", f"{view.lag_ms / 3_600_000:.1f} h", "promotions", f"{len(view.champions) - 1}", "", "")
    engines = [Text(line) for line in view.engines]
    parts: list[RenderableType] = [head, facts, *engines, _models(view), _candidates(view)]
    if view.closing:
        parts.append(Text("the feed has ended: closing its windows"))
    return Panel(Group(*parts), title=f"shadowstream · {view.name}", subtitle=f"{view.seconds:.0f} s")


def _models(view: View) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 3, 0, 0))
    for title in ("model", "AUC", "log loss", "samples"):
        table.add_column(title, justify="left" if title == "model" else "right")
    for who, name in NAMES.items():
        count, loss, auc = view.metrics.total[who] if view.metrics else NO_ROW
        table.add_row(name, cell(auc), cell(loss), f"{count:,}")
    return table


def _candidates(view: View) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 3, 0, 0))
    for title in ("candidate", "distilled", "what became of it"):
        table.add_column(title, no_wrap=title != "what became of it")
    for candidate in view.candidates[-SHOWN:]:
        table.add_row(str(candidate.number), day(candidate.at_ms), fate(candidate, view))
    return table


def months(metrics: Metrics) -> Table:
    """Lay out the three models by month."""
    table = Table(title="By month of prediction", title_justify="left")
    table.add_column("month")
    for who in NAMES:
        table.add_column(f"{who} AUC", justify="right")
        table.add_column("log loss", justify="right")
    for month, rows in [*sorted(metrics.months.items()), ("all", metrics.total)]:
        cells = [cell(value) for who in NAMES for value in (rows[who][2], rows[who][1])]
        table.add_row(month, *cells, style="bold" if month == "all" else "")
    return table


def versions(view: View) -> Table:
    """Lay out the champions."""
    table = Table(title="Versions", title_justify="left")
    for title in ("version", "since", "learned from", "evidence"):
        table.add_column(title)
    for c in view.champions:
        source = f"{c.learned:,} samples" if c.candidate is not None else "history"
        table.add_row(f"v{c.number}", day(c.at_ms), source, c.evidence)
    return table
