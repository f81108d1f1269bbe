"""How an audit looks.

Owns words and layout. Does not know where the figures come from.
"""

from collections.abc import Sequence

from rich.console import Console

from deploy.console.fitted import line
from deploy.console.fitted import show as show_rows
from deploy.console.join.counters import counters
from deploy.console.words import day
from deploy.operate.join.audit import Report
from deploy.registry.commits import Rebuilt
from deploy.registry.kinds import PARTITION_COUNTERS, TERMS
from streams.audit.equations import Audit, Equation
from streams.audit.verify import Verdict
from streams.join.store import Waiting


def show(console: Console, report: Report) -> None:
    """Print an audit's report."""
    _equations(console, report.audit)
    _partitions(console, report.audit)
    console.print(counters(report.counters))
    if report.waiting:
        _waiting(console, report.waiting)
    if report.audit.conflicts:
        console.print(f"{report.audit.conflicts:,} predictions came again with other content: the first one counts")
    for reason, count in report.rejected.items():
        line(console, f"rejected: {count:,} {reason}")
    for one in report.learning:
        line(console, f"{_mark(one)} {_said(one)}")
    for poison in report.quarantined:
        where = f"{poison.position} of shard {poison.shard}"
        line(console, f"quarantined: {where}: {poison.reason}: {poison.sample}")
    for note in report.notes:
        line(console, f"note: {note}")
    if report.rebuilt is not None:
        console.print(_rebuilt(report.rebuilt), markup=False, highlight=False)
    if report.verdict is not None:
        _verdict(console, report.verdict)


def _equations(console: Console, audit: Audit) -> None:
    """Print each equation with its numbers; those of one shard alone are those of all."""
    shards = [(f"shard {n}", shard) for n, shard in enumerate(audit.shards)] if len(audit.shards) > 1 else []
    for where, lines in [*shards, ("all shards" if shards else "the join", audit.total)]:
        console.print(f"{where}:", style="bold", highlight=False)
        for one in lines:
            line(console, f"  {_mark(one)} {_said(one)}")
    line(console, f"seq: {TERMS['seq']}; the table below says what the others count")


def _said(equation: Equation) -> str:
    off = "" if equation.holds else f": {equation.left:,} and {equation.right:,}, difference {equation.difference:,}"
    return equation.numbers + off


def _partitions(console: Console, audit: Audit) -> None:
    columns = tuple(PARTITION_COUNTERS)
    cells = [
        (one.tp, *(f"{getattr(one, column):,}" for column in columns), _holds(one.equation)) for one in audit.partitions
    ]
    show_rows(console, ("partition", *columns, "next - start = the sum"), cells, text=("next - start = the sum",))


def _holds(equation: Equation | None) -> str:
    return f"{_mark(equation)} {equation.difference:,}" if equation else "moving"


def _waiting(console: Console, waiting: Sequence[Waiting]) -> None:
    cells = [(one.id, day(one.deadline_ms), one.state) for one in waiting]
    show_rows(
        console, ("id", "window closes", "what waits"), cells, text=("what waits",), title="waiting, oldest first"
    )


def _verdict(console: Console, verdict: Verdict) -> None:
    for gap in verdict.removed:
        line(console, f"retention has removed {gap}; the rest was compared")
    explained = sum(verdict.explained.values())
    console.print(
        f"joined again: {verdict.ids:,} ids, {verdict.agreed:,} agree, {explained:,} differ for a known reason, "
        f"{verdict.differing:,} differ"
    )
    for reason, count in sorted(verdict.explained.items()):
        console.print(f"  {reason}: {count:,}")
    if verdict.differences:
        cells = [(one.id, one.here, one.there) for one in verdict.differences]
        title = f"the first {len(verdict.differences)} differences"
        show_rows(console, ("id", "joined again", "emitted"), cells, text=("joined again", "emitted"), title=title)


def _rebuilt(rebuilt: Rebuilt) -> str:
    said = "the same bits" if rebuilt.equal else "OTHER BITS"
    others = f"; commits were made in other environments: {', '.join(rebuilt.environments)}"
    return (
        f"rebuilt the state of commit {rebuilt.last} ({rebuilt.learned:,} samples) from commit {rebuilt.first}: {said}"
        f"{others if rebuilt.environments else ''}"
    )


def _mark(equation: Equation) -> str:
    return "✓" if equation.holds else "✗"
