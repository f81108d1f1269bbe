"""The live view as a picture, for documentation.

Owns which moment of a run it shows, and the SVG. Does not know where the figures come from.
"""

from io import StringIO
from pathlib import Path

from rich.console import Console

from deploy.console.loop.view import draw
from deploy.monitor import View

WIDTH = 104  # columns
UNTIL = 0.5  # the share of the feed after which no look is kept


def svg(view: View) -> str:
    """Return the live view as an SVG; equal views give equal bytes."""
    console = Console(record=True, file=StringIO(), width=WIDTH, force_terminal=True, color_system="truecolor")
    console.print(draw(view))
    text = console.export_svg(title=f"shadowstream · {view.name}", unique_id="shadowstream")
    return text.replace("<svg ", '<svg xml:space="preserve" ', 1)  # without it some programs drop leading spaces


class Snapshot:
    """Keeps the last look in a replay's first half at which a candidate's test had samples, or else the first look."""

    def __init__(self) -> None:
        self.view: View | None = None

    def show(self, view: View) -> None:
        """Keep this look if it shows more than the one that is kept."""
        tested = any(trial.samples for trial in view.trials)
        if self.view is None or (tested and (view.share or 0.0) <= UNTIL):
            self.view = view

    def write(self, path: Path) -> None:
        """Write the picture of the look that was kept, if there was one."""
        if self.view is not None:
            path.write_text(svg(self.view), encoding="utf-8")
