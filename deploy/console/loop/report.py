"""The tables at the end of a run.

Owns words and layout. Does not know where the figures come from.
"""

from rich.console import Console
from rich.table import Table

from compressors.artifact.format import Description
from deploy.console.fitted import Fitted
from deploy.console.join.counters import ENDED, table
from deploy.console.join.dead import show_reasons
from deploy.console.loop.view import months, slices, versions
from deploy.console.words import beside, compared, distrust_line, drift_line, returns, worst_line
from deploy.monitor import View
from deploy.registry.kinds import COUNTERS, RUN_FIGURES
from deploy.registry.learned import Equation
from deploy.run.summary import Speeds, Summary


def size(described: Description) -> str:
    """Return how an artifact's compressed weights are stored, and how large it is, as one line."""
    numbers = ", ".join(sorted({weight.weights for weight in described.weights.values()})) or "none"
    sizes = compared(described.bytes, described.float_bytes)
    return f"compressed weights: {numbers}, {100 * described.sparsity:.0f} % of them zero; {sizes}"


def figures(summary: Summary) -> Fitted:
    """Lay out what became of everything that was published, under the names that `--json` has."""
    counts = {name: getattr(summary, name) for name in ENDED}
    return table("what became of every event and candidate", counts, RUN_FIGURES | COUNTERS)


def ended(console: Console, summary: Summary) -> None:
    """Print what became of everything that was published, and why what was refused was.

    An embedded broker ends with the replay, and its dead letters with it: nobody can ask for them afterwards.
    """
    console.print(figures(summary))
    if summary.reasons:
        show_reasons(console, summary.reasons, "why records were refused")


def show(console: Console, view: View, equations: list[Equation], described: Description, speed: Speeds) -> None:
    """Print the models by month, the versions, the speed and size of what is served, and the audit."""
    if view.metrics:
        console.print(months(view.metrics), *slices(view.metrics), sep="\n")
    if worst := worst_line(view.metrics):
        console.print(worst, markup=False, highlight=False)
    for change in view.drift:
        console.print(f"changed: {drift_line(change)}", markup=False, highlight=False)
    for one in view.distrusted:
        console.print(distrust_line(one), markup=False, highlight=False)
    console.print(versions(view))
    for line in [*beside(view), *returns(view)]:
        console.print(line, markup=False, highlight=False)
    if speed.by_rows:
        console.print(Fitted(_speeds(speed)))
    console.print(speed.line, markup=False, highlight=False)
    console.print(size(described) + "\n")
    audited = Table(title="Audit", title_justify="left")
    for title in ("equation", "left", "right", "holds"):
        audited.add_column(title, justify="left" if title == "equation" else "right")
    for e in equations:
        audited.add_row(e.text, f"{e.left:,}", f"{e.right:,}", "yes" if e.holds else "NO")
    console.print(Fitted(audited))


def _speeds(speed: Speeds) -> Table:
    title = f"v{speed.version}, {speed.by}, against the same model in float32 torch"
    served = Table(title=title, title_justify="left")
    for name in ("rows a call", "served", "float32", "times as fast"):
        served.add_column(name, justify="right")
    for s in speed.by_rows:
        served.add_row(str(s.rows), f"{s.served_us:.0f} µs", f"{s.float_us:.0f} µs", f"{s.times:.2f}")
    return served
