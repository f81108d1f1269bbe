"""How it looks what a start would do. Owns words and layout. Does not know how it is decided."""

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from deploy.changes.plan import AGAIN, LINEAGE, Plan
from deploy.console.fitted import Fitted, line

CELL = 48  # characters


def show_plan(console: Console, plan: Plan) -> None:
    """Print what a start would do."""
    if plan.begins:
        line(console, f"{plan.feed}: nothing has served yet; a start makes the first version")
        return
    if plan.changes:
        table = Table(title="What has changed", title_justify="left")
        for title in ("part", "what", "was", "is", "what follows"):
            table.add_column(title)
        for one in plan.changes:
            cells = (one.part, one.name, _cut(one.old), _cut(one.new), f"{one.follows}; {one.why}".rstrip("; "))
            table.add_row(*map(escape, cells))
        console.print(Fitted(table))
    if plan.read:
        line(console, f"{plan.read:,} rows of the log were read as the features are now")
    if plan.answered:
        how = f"answers otherwise: {plan.apart}" if plan.apart else "answers as it did"
        line(console, f"v{plan.version}, asked {plan.answered} samples of the log again, {how}")
    if plan.again:
        line(console, LINEAGE if plan.lineage else AGAIN)
    if plan.refused is None and plan.without_log is None:
        line(console, f"{plan.feed}: a start goes on" + ("" if plan.changes else "; nothing has changed"))


def _cut(text: str | None) -> str:
    shown = " ".join((text or "-").split())
    return shown if len(shown) <= CELL else f"{shown[: CELL - 1]}…"
