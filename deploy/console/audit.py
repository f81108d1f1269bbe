"""How an audit looks.

Owns words and layout. Does not know where the figures come from.
"""

from collections.abc import Sequence

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from deploy.console.counters import counters
from deploy.console.view import day
from deploy.operate.audit import Report
from deploy.registry.commits import Rebuilt
from deploy.registry.kinds import PARTITION_COUNTERS, TERMS
from streams.audit.equations import Audit, Equation
from streams.audit.verify import Verdict
from streams.join.store import Waiting


def show(console: Console, report: Report) -> None:
    """Print an audit's report."""
    _equations(console, report.audit)
    console.print(_partitions(report.audit), counters(report.counters))
    if report.waiting:
        console.print(_waiting(report.waiting))
    if report.audit.conflicts:
        console.print(f"{report.audit.conflicts:,} predictions came again with other content: the first one counts")
    for reason, count in report.rejected.items():
        console.print(f"rejected: {count:,} {reason}", markup=False, highlight=False)
    for one in report.learning:
        console.print(f"{_mark(one)} {_said(one)}", markup=False, highlight=False)
    for poison in report.quarantined:
        where = f"{poison.position} of shard {poison.shard}"
        console.print(f"quarantined: {where}: {poison.reason}: {poison.sample}", markup=False, highlight=False)
    for note in report.notes:
        console.print(f"note: {note}", markup=False, highlight=False)
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
            console.print(f"  {_mark(one)} {_said(one)}", markup=False, highlight=False, soft_wrap=True)
    console.print(f"seq: {TERMS['seq']}; the table below says what the others count", highlight=False)


def _said(equation: Equation) -> str:
    off = "" if equation.holds else f": {equation.left:,} and {equation.right:,}, difference {equation.difference:,}"
    return equation.numbers + off


def _partitions(audit: Audit) -> Table:
    columns = tuple(PARTITION_COUNTERS)
    table = Table("partition", *columns, "next - start = the sum")
    for one in audit.partitions:
        holds = f"{_mark(one.equation)} {one.equation.difference:,}" if one.equation else "moving"
        table.add_row(escape(one.tp), *(f"{getattr(one, column):,}" for column in columns), holds)
    return table


def _waiting(waiting: Sequence[Waiting]) -> Table:
    table = Table("window closes", "id", "what waits", title="waiting, oldest first")
    for one in waiting:
        table.add_row(day(one.deadline_ms), escape(one.id), one.state)
    return table


def _verdict(console: Console, verdict: Verdict) -> None:
    for gap in verdict.removed:
        console.print(f"retention has removed {gap}; the rest was compared", markup=False)
    explained = sum(verdict.explained.values())
    console.print(
        f"joined again: {verdict.ids:,} ids, {verdict.agreed:,} agree, {explained:,} differ for a known reason, "
        f"{verdict.differing:,} differ"
    )
    for reason, count in sorted(verdict.explained.items()):
        console.print(f"  {reason}: {count:,}")
    if verdict.differences:
        table = Table("id", "joined again", "emitted", title=f"the first {len(verdict.differences)} differences")
        for one in verdict.differences:
            table.add_row(escape(one.id), escape(one.here), escape(one.there))
        console.print(table)


def _rebuilt(rebuilt: Rebuilt) -> str:
    said = "the same bits" if rebuilt.equal else "OTHER BITS"
    others = f"; commits were made in other environments: {', '.join(rebuilt.environments)}"
    return (
        f"rebuilt the state of commit {rebuilt.last} ({rebuilt.learned:,} samples) from commit {rebuilt.first}: {said}"
        f"{others if rebuilt.environments else ''}"
    )


def _mark(equation: Equation) -> str:
    return "✓" if equation.holds else "✗"
