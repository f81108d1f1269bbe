"""How it looks what other policies would have decided. Owns words and layout. Does not know how that is found."""

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from deploy.backtest.decided import Decided
from deploy.backtest.learned import Learned
from deploy.console.fitted import Fitted, line
from deploy.console.words import cell, day
from deploy.operate.versions.backtest import Backtest
from learners.evaluation.verdict import Decision

NONE = "-"


def show(console: Console, found: Backtest) -> None:
    """Print what each policy comes to, in all and by month."""
    since = "" if found.since_ms is None else f", counted since {day(found.since_ms)}"
    title = f"{found.feed}, {found.commits:,} commits up to {day(found.until_ms)}{since}"
    table = Table(title=title, title_justify="left")
    for title in ("policy", "promotions", "rollbacks", "of candidates", "not taken", found.loss):
        table.add_column(escape(title), justify="left" if title in ("policy", "not taken") else "right")
    for one in found.policies:
        counts = (f"{one.promotions}", f"{one.rollbacks}", f"{one.candidates}")
        table.add_row(escape(one.name), *counts, _not_taken(one), cell(one.total.values[found.loss]))
    console.print(Fitted(table), _months(found), sep="\n")
    for one in found.policies[1:]:
        line(console, f"{one.name}: {', '.join(f'{name} = {value}' for name, value in one.given.items()) or NONE}")
    line(console, "The loss is what the versions would have answered by themselves, under the live intercept.")
    if found.events:
        line(console, _events(found.events))
    if found.otherwise:
        numbers = ", ".join(map(str, found.otherwise))
        line(console, f"the pipeline's own policy decides otherwise than the run did on candidates {numbers}")
    elif not found.events:
        exactly = "" if found.syncs else ", bit for bit"
        line(console, f"the pipeline's own policy: all {found.same} verdicts are those of the run{exactly}")
    if found.gone:
        numbers = ", ".join(map(str, found.gone))
        line(console, f"not judged by any policy: candidates {numbers}, whose artifacts have gone (shadowstream gc)")
    if found.syncs:
        line(console, f"left out: {found.syncs:,} syncs, as if only what was promoted had served")
    if found.orders:
        line(console, f"left out: {found.orders} orders of people that are on record")


def _events(of: Learned) -> str:
    refused = "".join(f"; {count:,} refused: {why}" for why, count in of.why.items())
    return (
        f"learned in {of.seconds:.0f} s, in one process: {of.requests:,} requests and {of.outcomes:,} outcomes made "
        f"{of.samples:,} samples; {of.unlabelled:,} requests have no outcome{refused}"
    )


def _months(found: Backtest) -> Fitted:
    table = Table(title=f"{found.loss} by month of prediction", title_justify="left")
    table.add_column("month")
    for one in found.policies:
        table.add_column(escape(one.name), justify="right")
    for month in sorted({month for one in found.policies for month in one.months}):
        rows = [one.months.get(month) for one in found.policies]
        table.add_row(month, *(cell(row.values[found.loss]) if row else NONE for row in rows))
    return Fitted(table)


def _not_taken(one: Decided) -> str:
    proven = one.decisions.get(Decision.PROVEN, 0)
    counts = {str(decision): count for decision, count in one.decisions.items() if decision is not Decision.PROVEN}
    if waits := proven - one.promotions:
        counts["proven, but not promoted"] = waits
    if running := one.candidates - sum(one.decisions.values()):
        counts["no verdict"] = running
    return ", ".join(f"{count} {what}" for what, count in counts.items()) or NONE
