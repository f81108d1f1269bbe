"""A pipeline's model trained on its history and put through a recipe, and what an artifact says of itself, as tables.

Owns the way from a pipeline's file to the library's calls, and the tables. Does not know Kafka, Redis or Ray, or how a
step of a recipe works.
"""

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console
from rich.progress import Progress, TaskID
from rich.table import Table

from compressors import artifact
from compressors.artifact import Description
from compressors.compress import Compressed, compress
from compressors.compress import Progress as Said
from compressors.distill import Data
from compressors.recipe import Recipe
from deploy import pipeline as pipelines
from deploy.bootstrap import history
from deploy.distiller import make_learner
from deploy.pipeline import Pipeline
from learners.online import Learner
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
            made = compress(
                copy.deepcopy(learner.teacher.mean).requires_grad_(True), chain, data, pipeline.task, seed=pipeline.seed, progress=said,
                manifest={"pipeline": pipeline.name},
            )  # fmt: skip
    except ValueError as wrong:
        raise ConfigError(str(wrong)) from wrong
    out = out or Path(f"{pipeline.name}.safetensors")
    out.write_bytes(made.artifact)
    return out, made


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
    except (OSError, artifact.ArtifactError) as wrong:
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
    for name, why in told.left.items():
        console.print(f"in float: {name or 'the model itself'} ({why})", highlight=False)
    console.print(
        f"{told.bytes:,} bytes, in float {told.float_bytes:,}: {told.float_bytes / told.bytes:.1f} times smaller; "
        f"{told.sparsity:.1%} of the compressed weights are zero; format {told.format}, digest {told.digest[:16]}"
    )
    if "recipe" in told.manifest:
        console.print(f"recipe: {Recipe.from_dict(told.manifest['recipe'])}", highlight=False, markup=False)


def compared(made: Compressed) -> str:
    """Say in a line what the recipe cost."""
    return (
        f"loss on held-out rows {made.loss_before:.4f} before, {made.loss_after:.4f} after; artifact and training form "
        f"differ by {made.parity.largest:.2g} of the largest output; {made.parity.changed:.2%} are decided otherwise"
    )


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
