"""A pipeline's model trained on its history and put through recipes, and the description of an artifact's file.

Owns the way from a pipeline's file to the library's calls. Does not know Kafka, Redis or Ray, how a step of a recipe
works, or how results look.
"""

from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path

from torch import nn

from compressors.advisor.advise import Advice, advise, usual
from compressors.advisor.search import Budget, Said
from compressors.artifact import format as artifact
from compressors.artifact.format import Description
from compressors.carry_out import Progress
from compressors.compress import Compressed, compress
from compressors.data import Data
from compressors.errors import ArtifactError
from compressors.recipe import Distill, Recipe, Retrain
from deploy import pipeline as pipelines
from deploy.learning.candidates import history, make_learner
from deploy.loading import users_code
from deploy.operate.files import check_file
from deploy.pipeline import Pipeline
from streams.errors import ConfigError


def compress_pipeline(path: Path, recipe: str | None, out: Path | None, progress: Progress) -> tuple[Path, Compressed]:
    """Train the pipeline's model on its history, compress it, and write the artifact; return the artifact's path too.

    Without `recipe` the pipeline's own is used; without `out` the file is `NAME.safetensors` in the working directory.

    Raises:
        ConfigError: no history; a recipe that cannot be read or does not suit the model; a file that cannot be written.
    """
    check_file(out)
    pipeline = pipelines.load(path)
    with users_code(str(path)):
        chain = Recipe.parse(recipe) if recipe is not None else pipeline.recipe
        model, data = _trained(pipeline, progress)
        made = compress(
            model, chain, data, pipeline.task, seed=pipeline.seed, factory=pipeline.model,
            manifest={"pipeline": pipeline.name}, progress=progress,
        )  # fmt: skip
    out = out or Path(f"{pipeline.name}.safetensors")
    out.write_bytes(made.artifact)
    return out, made


def advise_pipeline(
    path: Path, budget: str, recipes: Sequence[str], notes: Path | None, progress: Progress, tried: Said
) -> Advice:
    """Train the pipeline's model on its history and try recipes on it, the usual ones if `recipes` is
    empty.

    Raises:
        ConfigError: no history; a budget or a recipe that cannot be read; notes that cannot be written.
    """
    check_file(notes)
    pipeline = pipelines.load(path)
    with users_code(str(path)):
        bounds = read_budget(budget)
        chains = [Recipe.parse(text) for text in recipes] or usual(pipeline.recipe.first(Retrain) or Distill())
        model, data = _trained(pipeline, progress)
        return advise(model, data, pipeline.task, bounds, chains, seed=pipeline.seed, notes=notes, said=tried)


def read_budget(text: str) -> Budget:
    """Read "name=number, ..." into a budget.

    Raises:
        ValueError: an unknown name, or a value that is not a number.
    """
    bounds: dict[str, float] = {}
    known = [field.name for field in fields(Budget)]
    for part in filter(None, map(str.strip, text.split(","))):
        name, _, value = (side.strip() for side in part.partition("="))
        if name not in known:
            raise ValueError(f"a budget has no {name!r}; it has {', '.join(known)}, as in 'bytes=20000, minutes=5'")
        try:
            bounds[name] = int(float(value)) if name in ("bytes", "rows") else float(value)
        except (ValueError, OverflowError):
            raise ValueError(f"budget: {part!r} should be {name}=NUMBER") from None
    return Budget(**bounds)  # type: ignore[arg-type]


def _trained(pipeline: Pipeline, progress: Progress) -> tuple[nn.Module, Data]:
    """Return the pipeline's model, trained on its history, and the history.

    Raises:
        ConfigError: it has none.
    """
    data = history(pipeline)
    if data is None:
        raise ConfigError(f"pipeline {pipeline.name!r} has no history: there is nothing to train and measure on")
    learner, step = make_learner(pipeline), f"training on {len(data):,} rows of history"
    progress(step, 0, 0)
    learner.study(data)
    progress(step, 1, 1)
    return learner.teacher.student(), data


def read(path: Path) -> Description:
    """Return the description of an artifact's file.

    Raises:
        ConfigError: no such file, or not an artifact that this version reads.
    """
    try:
        return artifact.describe(path.read_bytes())
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}") from error
    except ArtifactError as error:
        raise ConfigError(f"{path}: {error}") from error
