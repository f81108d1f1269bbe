"""How an artifact and an advice look, and the progress bars while they are made.

Owns words and layout. Does not know how a model is compressed, or how recipes are chosen.
"""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console
from rich.progress import Progress, TaskID, TextColumn
from rich.table import Table
from rich.text import Text

from compressors.advisor import picture
from compressors.advisor.advise import Advice
from compressors.advisor.search import Trial
from compressors.artifact.format import Description
from compressors.artifact.manifest import origin
from compressors.artifact.stored import Stored
from compressors.errors import printable
from compressors.recipe import PruneStructured, Recipe
from deploy.console.words import compared
from streams.errors import ConfigError


def show(console: Console, description: Description) -> None:
    """Print an artifact's weights by name, what stayed in float, its sizes, and its manifest."""
    table = Table(title="Compressed weights", title_justify="left")
    for title in ("weight", "shape", "numbers", "inputs", "zeros", "bytes", "bits a weight"):
        table.add_column(title, justify="left" if title == "weight" else "right")
    for name, weight in description.weights.items():
        table.add_row(*map(Text, (printable(name), *_weight(weight))))
    console.print(table)
    for name in description.emptied:
        _line(console, f"every weight of {name} is zero: prune with scope=lamp or scope=layer keeps some")
    for name, why in description.left.items():
        _line(console, f"in float: {name or 'the model itself'} ({why})")
    console.print(
        f"{compared(description.bytes, description.float_bytes)}; "
        f"{description.sparsity:.1%} of the compressed weights are zero; format {description.format}, digest "
        f"{description.digest[:16]}"
    )
    for name, value in description.manifest.items():
        if name == "recipe":
            _line(console, f"recipe: {_recipe(value)}")
        elif name == "factory":
            _line(console, f"made from: {origin(description.manifest)}")
        elif name != "arguments":
            _line(console, f"{name}: {_text(value)}")


def _weight(weight: Stored) -> tuple[str, ...]:
    numbers = weight.weights + (f", groups of {weight.group}" if weight.group else "")
    inputs = ", ".join(sorted(set(weight.inputs.values())))
    bits = 8 * weight.bytes / max(1, math.prod(weight.shape))
    shape = "×".join(map(str, weight.shape))
    return shape, numbers, inputs, f"{weight.sparsity:.1%}", f"{weight.bytes:,}", f"{bits:.2f}"


def _recipe(value: object) -> str:
    """Return a recipe as its text; what is none as it stands."""
    try:
        return str(Recipe.from_dict(value))  # type: ignore[arg-type]
    except (ValueError, TypeError, AttributeError, KeyError):
        return _text(value)


def _text(value: object) -> str:
    """Return a part of a manifest in one line."""
    if isinstance(value, dict):
        return ", ".join(f"{name} {_text(part)}" for name, part in value.items())
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _line(console: Console, text: str) -> None:
    console.print(printable(text), highlight=False, markup=False)


def show_advice(console: Console, advice: Advice) -> None:
    """Print the trials, best first, and the pick with its reason."""
    table = Table(title="Recipes tried", title_justify="left")
    for title in ("recipe", "rows", "loss", "bytes", "µs a call", "engine", ""):
        table.add_column(title, justify="left" if title in ("recipe", "engine") else "right", overflow="fold")
    table.add_row("the model as it is", "", "", *_costs(advice.plain), "")
    for trial in sorted(advice.trials, key=lambda trial: (-trial.share, trial.loss)):
        mark = "the pick" if trial == advice.pick else "front" if trial in advice.front else ""
        loss = "refused" if trial.refused else f"{trial.loss:+.4f} ± {trial.error:.4f}"
        table.add_row(trial.recipe, f"{trial.share:.0%}", loss, *_costs(trial), trial.refused or mark)
    console.print(table)
    if not advice.complete:
        console.print("ended early, with the best so far; with --notes, the same command continues the search")
    _line(console, f"{advice.pick.recipe}: {advice.why}" if advice.pick else advice.why)
    if advice.pick and Recipe.parse(advice.pick.recipe).first(PruneStructured):
        console.print("only a pipeline that begins anew can take this recipe: a shadow that learns keeps its units")


def _costs(trial: Trial) -> tuple[str, str, str]:
    return ("", "", "") if trial.refused else (f"{trial.bytes:,}", f"{trial.latency_us:.0f}", trial.engine)


def check_picture(path: Path) -> None:
    """Refuse a file that cannot be drawn to.

    Raises:
        ConfigError: matplotlib is missing, or the file's ending is not that of a picture.
    """
    try:
        picture.check(path)
    except (ImportError, ValueError) as error:
        raise ConfigError(str(error)) from error


def draw(advice: Advice, path: Path) -> None:
    """Draw the trials to a file.

    Raises:
        ConfigError: matplotlib is missing, the file's ending is not that of a picture, or it cannot be written.
    """
    try:
        picture.draw(advice, path)
    except (ImportError, ValueError, OSError) as error:
        raise ConfigError(str(error)) from error


class Bars:
    """A bar for each step, and one for the search; `step` and `trial` are what the library calls on its way."""

    def __init__(self, bars: Progress) -> None:
        self._bars = bars
        self._tasks: dict[str, TaskID] = {}

    def step(self, name: str, done: int, steps: int) -> None:
        """Move a step's bar; 0 of 0 says that it has begun and will take an unknown time."""
        self._move(name, done, steps or None)

    def trial(self, done: int, trials: int, left_s: float) -> None:
        """Move the search's bar; `left_s` are the seconds left, estimated from the trials so far."""
        self._move("recipes", done, trials, f"about {left_s:.0f} s left")

    def _move(self, name: str, done: int, total: int | None, left: str = "") -> None:
        if name not in self._tasks:
            self._tasks[name] = self._bars.add_task(name, total=total, left=left)
        self._bars.update(self._tasks[name], completed=done, total=total, left=left)


@contextmanager
def bars(console: Console) -> Iterator[Bars]:
    """Show progress bars until the block ends; show nothing where the console is not a terminal."""
    columns = (*Progress.get_default_columns()[:3], TextColumn("{task.fields[left]}"))
    with Progress(*columns, console=console, transient=True) as progress:
        yield Bars(progress)
