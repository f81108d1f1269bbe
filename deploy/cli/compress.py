"""The commands for models alone, with no feed: compress, advise and inspect.

Owns their arguments and where output goes. Does not know how anything is done.
"""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from deploy.cli.options import AsJson, plain, print_json
from deploy.console.versions import compression
from deploy.operate import compressing
from deploy.operate.files import check_file

app = typer.Typer()
WIDE = 160  # columns where no terminal says how many there are; recipes are long


@app.command()
def compress(
    pipeline: Annotated[Path, typer.Argument(help="The pipeline.py; its model, history and task are used.")],
    recipe: Annotated[
        str | None,
        typer.Option(help="Such as 'prune(amount=0.6) -> quantize(int8) -> distill'; default: the pipeline's."),
    ] = None,
    out: Annotated[Path | None, typer.Option(help="The file to write; default: NAME.safetensors.")] = None,
    as_json: AsJson = False,
) -> None:
    """Train a pipeline's model on its history, put it through a recipe, and write the artifact."""
    console = Console(stderr=as_json)
    with compression.bars(console) as bars:
        path, made = compressing.compress_pipeline(pipeline, recipe, out, bars.step)
    compression.show(console, made.description)
    plain(console)(f"written to {path}")
    if as_json:
        losses = {"loss_before": made.loss_before, "loss_after": made.loss_after}
        rest = {"artifact": made.description, "parity": made.parity._asdict(), "recipe": str(made.recipe)}
        print_json({"path": str(path), **losses, **rest})


@app.command()
def advise(
    pipeline: Annotated[Path, typer.Argument(help="The pipeline.py; its model, history and task are used.")],
    budget: Annotated[
        str,
        typer.Option(help="Such as 'latency_us=50, bytes=20000, loss=0.005, minutes=5, rows=64'; default: no bound."),
    ] = "",
    recipe: Annotated[
        list[str] | None, typer.Option(help="A recipe to try; may be repeated. Default: the usual recipes.")
    ] = None,
    notes: Annotated[
        Path | None,
        typer.Option(help="A file for the results so far; a later call continues from it."),
    ] = None,
    picture: Annotated[
        Path | None, typer.Option(help="Draw loss against latency and size to this file, such as advice.svg.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Try recipes on a pipeline's model, measure each on this machine, and name the best. Ctrl-C ends early."""
    console = Console(stderr=as_json)
    if not console.is_terminal:
        console = Console(stderr=as_json, width=WIDE)
    if picture:
        check_file(picture)
        compression.check_picture(picture)
    with compression.bars(console) as bars:
        advice = compressing.advise_pipeline(pipeline, budget, recipe or [], notes, bars.step, bars.trial)
    compression.show_advice(console, advice)
    if picture:
        compression.draw(advice, picture)
        plain(console)(f"drawn to {picture}")
    if as_json:
        print_json(advice._asdict())


@app.command()
def inspect(
    artifact: Annotated[Path, typer.Argument(help="An artifact's file.")],
    as_json: AsJson = False,
) -> None:
    """Show what is in an artifact, by weight: shape, sparsity, bits, bytes."""
    description = compressing.read(artifact)
    if as_json:
        print_json(description)
    else:
        compression.show(Console(), description)
