"""A pipeline's model trained on its history and put through a recipe, and what an artifact says of itself, as tables.

Owns the way from a pipeline's file to the library's calls, and the tables. Does not know Kafka, Redis or Ray, or how a
step of a recipe works.
"""

import copy
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import fields
from pathlib import Path

from rich.console import Console
from rich.progress import Progress, TaskID, TextColumn
from rich.table import Table

from compressors.advisor import advise as advisor
from compressors.advisor import picture
from compressors.advisor.search import Budget, Trial
from compressors.artifact import format as artifact
from compressors.artifact.format import Description
from compressors.artifact.manifest import origin
from compressors.compress import Compressed, compress
from compressors.compress import Progress as Said
from compressors.data import Data
from compressors.errors import ArtifactError
from compressors.recipe import Distill, PruneStructured, Recipe, Retrain
from deploy import pipeline as pipelines
from deploy.learning.candidates import history, make_learner
from deploy.pipeline import Pipeline
from learners.online.learner import Learner
from streams.errors import ConfigError


def compress_pipeline(path: Path, recipe: str | None, out: Path | None, console: Console) -> tuple[Path, Compressed]:
    """Train the pipeline's model on its history, compress it, and write the artifact; gives its path too.

    Raises:
        ConfigError: no history, or a recipe that is none or does not suit the model.
    """
    pipeline = pipelines.load(path)
    try:
        chain = Recipe.parse(recipe) if recipe is not None else pipeline.recipe
        learner, data = studied(pipeline, console)
        with _bars(console) as said:
            model = copy.deepcopy(learner.teacher.mean).requires_grad_(True)
            told = {"pipeline": pipeline.name}
            made = compress(
                model, chain, data, pipeline.task, seed=pipeline.seed, factory=pipeline.model, manifest=told,
                progress=said,
            )  # fmt: skip
    except ValueError as wrong:
        raise ConfigError(str(wrong)) from wrong
    out = out or Path(f"{pipeline.name}.safetensors")
    out.write_bytes(made.artifact)
    return out, made


def advise_pipeline(
    path: Path, budget: str, recipes: Sequence[str], notes: Path | None, console: Console
) -> advisor.Advice:
    """Train the pipeline's model on its history and try recipes on it.

    Raises:
        ConfigError: no history, or a budget or a recipe that is none.
    """
    pipeline = pipelines.load(path)
    try:
        bounds = read_budget(budget)
        training = pipeline.recipe.first(Retrain) or Distill()
        chains = [Recipe.parse(text) for text in recipes] or advisor.usual(training)
        learner, data = studied(pipeline, console)
        model = copy.deepcopy(learner.teacher.mean).requires_grad_(True)
        with Progress(*Progress.get_default_columns()[:3], TextColumn("{task.fields[left]}"), console=console) as bars:
            bar = bars.add_task("recipes", total=None, left="")
            return advisor.advise(
                model, data, pipeline.task, bounds, chains, seed=pipeline.seed, notes=notes,
                said=lambda done, of, s: bars.update(bar, completed=done, total=of, left=f"about {s:.0f} s left"),
            )  # fmt: skip
    except ValueError as wrong:
        raise ConfigError(str(wrong)) from wrong


def read_budget(text: str) -> Budget:
    """Read "name=number, ..." into a budget.

    Raises:
        ValueError: a name or number that is none.
    """
    given: dict[str, float] = {}
    known = [f.name for f in fields(Budget)]
    for part in filter(None, map(str.strip, text.split(","))):
        name, _, value = part.partition("=")
        if name.strip() not in known:
            raise ValueError(
                f"a budget has no {name.strip()!r}; it has {', '.join(known)}, as in 'bytes=20000, minutes=5'"
            )
        try:
            given[name.strip()] = float(value)
        except ValueError:
            raise ValueError(f"budget: {part!r} should be {name.strip()}=NUMBER") from None
    whole = {name: int(value) if name in ("bytes", "rows") else value for name, value in given.items()}
    return Budget(**whole)  # type: ignore[arg-type]


def show_advice(console: Console, told: advisor.Advice) -> None:
    """Print the trials, best first, and the pick with its reason."""
    table = Table(title="Recipes tried", title_justify="left")
    for title in ("recipe", "rows", "loss", "bytes", "µs a call", "engine", ""):
        table.add_column(title, justify="left" if title in ("recipe", "engine") else "right", overflow="fold")
    table.add_row("the model as it is", "", "", *_takes(told.plain), "")
    for t in sorted(told.trials, key=lambda t: (-t.share, t.loss)):
        marks = "the pick" if t == told.pick else "front" if t in told.front else ""
        loss = "refused" if t.refused else f"{t.loss:+.4f} ± {t.error:.4f}"
        table.add_row(t.recipe, f"{t.share:.0%}", loss, *_takes(t), t.refused or marks)
    console.print(table)
    if not told.complete:
        console.print("ended early: this is the best so far; the same command with --notes goes on")
    console.print(f"{told.pick.recipe}: {told.why}" if told.pick else told.why, highlight=False, markup=False)
    if told.pick and Recipe.parse(told.pick.recipe).first(PruneStructured):
        console.print("a pipeline takes this recipe as it begins; one that runs keeps the units that its shadow has")


def _takes(trial: Trial) -> tuple[str, str, str]:
    return ("", "", "") if trial.refused else (f"{trial.bytes:,}", f"{trial.latency_us:.0f}", trial.engine)


def draw(told: advisor.Advice, path: Path) -> None:
    """Draw the trials to a file.

    Raises:
        ConfigError: it cannot be drawn, or not in that format.
    """
    try:
        picture.draw(told, path)
    except (ImportError, ValueError, OSError) as wrong:
        raise ConfigError(str(wrong)) from wrong


def studied(pipeline: Pipeline, console: Console) -> tuple[Learner, Data]:
    """Train the pipeline's learner on its history.

    Raises:
        ConfigError: it has none.
    """
    data = history(pipeline)
    if data is None:
        raise ConfigError(f"pipeline {pipeline.name!r} has no history: there is nothing to train and measure on")
    learner = make_learner(pipeline)
    with console.status(f"training on {len(data.labels):,} rows of history"):
        learner.study(data.inputs, data.labels)
    return learner, data


def read(path: Path) -> Description:
    """Read what an artifact says of itself.

    Raises:
        ConfigError: no such file, or not an artifact that this version reads.
    """
    try:
        return artifact.describe(path.read_bytes())
    except (OSError, ArtifactError) as wrong:
        raise ConfigError(f"{path}: {wrong}") from wrong


def show(console: Console, told: Description) -> None:
    """Print an artifact's weights by name, what stayed in float, and its sizes."""
    table = Table(title="Compressed weights", title_justify="left")
    for title in ("weight", "shape", "numbers", "inputs", "zeros", "bytes", "bits a weight"):
        table.add_column(title, justify="left" if title == "weight" else "right")
    for name, one in told.weights.items():
        count = 1
        for side in one.shape:
            count *= side
        numbers = one.weights + (f", groups of {one.group}" if one.group else "")
        shape, bits = "×".join(map(str, one.shape)), f"{8 * one.bytes / count:.2f}"
        seen = ", ".join(sorted(set(one.inputs.values())))
        table.add_row(name, shape, numbers, seen, f"{one.sparsity:.1%}", f"{one.bytes:,}", bits)
    console.print(table)
    for name in told.emptied:
        console.print(
            f"every weight of {name} is zero: prune with scope=lamp or scope=layer keeps some", highlight=False
        )
    for name, why in told.left.items():
        console.print(f"in float: {name or 'the model itself'} ({why})", highlight=False)
    console.print(
        f"{told.bytes:,} bytes, in float {told.float_bytes:,}: {told.float_bytes / told.bytes:.1f} times smaller; "
        f"{told.sparsity:.1%} of the compressed weights are zero; format {told.format}, digest {told.digest[:16]}"
    )
    for name, value in told.manifest.items():
        text = str(Recipe.from_dict(value)) if name == "recipe" else _said(value)
        if name == "factory":
            name, text = "made from", str(origin(told.manifest))
        if name != "arguments":
            console.print(f"{name}: {text}", highlight=False, markup=False)


def _said(value: object) -> str:
    """Write a part of a manifest in a line."""
    if isinstance(value, dict):
        return ", ".join(f"{name} {_said(one)}" for name, one in value.items())
    return f"{value:.4g}" if isinstance(value, float) else str(value)


@contextmanager
def _bars(console: Console) -> Iterator[Said]:
    """Give a function (step, done, steps) that moves a bar for each step."""
    tasks: dict[str, TaskID] = {}
    with Progress(console=console, transient=True) as bars:

        def said(step: str, done: int, steps: int) -> None:
            if step not in tasks:
                tasks[step] = bars.add_task(step, total=steps)
            bars.update(tasks[step], completed=done)

        yield said
