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
    console.print(_equations(report.audit), _partitions(report.audit), counters(report.counters))
    if report.waiting:
        console.print(_waiting(report.waiting))
    if report.audit.conflicts:
        console.print(f"{report.audit.conflicts:,} predictions came again with other content: the first one counts")
    for reason, count in report.rejected.items():
        console.print(f"rejected: {count:,} {reason}", markup=False, highlight=False)
    for one in report.learning:
        counts = f"{one.left:,} and {one.right:,}, difference {one.difference:,}"
        console.print(f"{_mark(one)} {one.text}: {counts}", markup=False, highlight=False)
    for poison in report.quarantined:
        where = f"{poison.position} of shard {poison.shard}"
        console.print(f"quarantined: {where}: {poison.reason}: {poison.sample}", markup=False, highlight=False)
    for note in report.notes:
        console.print(f"note: {note}", markup=False, highlight=False)
    if report.rebuilt is not None:
        console.print(_rebuilt(report.rebuilt), markup=False, highlight=False)
    if report.verdict is not None:
        _verdict(console, report.verdict)


def _equations(audit: Audit) -> Table:
    caption = f"seq: {TERMS['seq']}"
    table = Table("", "equation", "left", "right", "difference", title="by shard and in all", caption=caption)
    rows = [(f"shard {n}", one) for n, shard in enumerate(audit.shards) for one in shard]
    for where, one in [*rows, *(("all", one) for one in audit.total)]:
        table.add_row(where, f"{_mark(one)} {one.text}", f"{one.left:,}", f"{one.right:,}", f"{one.difference:,}")
    return table


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
