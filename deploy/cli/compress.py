"""The commands for models alone, with no feed: compress, advise and inspect.

Owns their arguments and where output goes. Does not know how anything is done.
"""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from deploy.cli.options import AsJson, print_json
from deploy.operate import compressing

app = typer.Typer()
WIDE = 160  # columns where no terminal says how many there are; recipes are long


@app.command()
def compress(
    pipeline: Annotated[Path, typer.Argument(help="The pipeline.py: its model, history and task are used.")],
    recipe: Annotated[
        str | None, typer.Option(help="Such as 'prune(amount=0.6) -> quantize(int8) -> distill'; else the pipeline's.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="The artifact's file; else NAME.safetensors here.")] = None,
    as_json: AsJson = False,
) -> None:
    """Train a pipeline's model on its history, put it through a recipe, and write the artifact."""
    console = Console(stderr=as_json)
    path, made = compressing.compress_pipeline(pipeline, recipe, out, console)
    compressing.show(console, made.description)
    console.print(f"written to {path}", highlight=False)
    if as_json:
        told = {"path": str(path), "loss_before": made.loss_before, "loss_after": made.loss_after}
        parity = made.parity._asdict()
        told |= {"artifact": made.description, "parity": parity, "recipe": str(made.recipe)}
        print_json(told)


@app.command()
def advise(
    pipeline: Annotated[Path, typer.Argument(help="The pipeline.py: its model, history and task are used.")],
    budget: Annotated[
        str,
        typer.Option(help="Such as 'latency_us=50, bytes=20000, loss=0.005, minutes=5, rows=64'; none is no bound."),
    ] = "",
    recipe: Annotated[
        list[str] | None, typer.Option(help="A recipe to try; may be repeated. Else the usual ones.")
    ] = None,
    notes: Annotated[Path | None, typer.Option(help="What was tried; a later call goes on from it.")] = None,
    picture: Annotated[
        Path | None, typer.Option(help="Draw loss against latency and size, to advice.svg, say.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Try recipes on a pipeline's model, each measured on this machine, and name the one to take; Ctrl-C ends early."""
    console = Console(stderr=as_json)
    if not console.is_terminal:
        console = Console(stderr=as_json, width=WIDE)
    told = compressing.advise_pipeline(pipeline, budget, recipe or [], notes, console)
    compressing.show_advice(console, told)
    if picture:
        compressing.draw(told, picture)
        console.print(f"drawn to {picture}", highlight=False)
    if as_json:
        print_json(told._asdict())


@app.command()
def inspect(
    artifact: Annotated[Path, typer.Argument(help="An artifact's file.")],
    as_json: AsJson = False,
) -> None:
    """Show what is in an artifact, by weight: shape, sparsity, bits, bytes."""
    told = compressing.read(artifact)
    if as_json:
        print_json(told)
    else:
        compressing.show(Console(), told)
