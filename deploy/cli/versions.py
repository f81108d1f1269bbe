"""The commands versions, show, diff, find and plan.

Owns their arguments and where output goes. Does not know how anything is done.
"""

from typing import Annotated

import typer
from rich.console import Console

from deploy.cli.options import AsJson, ConfigFile, PipelineFile, Version, print_json, settings
from deploy.console.versions import changes
from deploy.console.versions import lineage as view
from deploy.operate import plan as operate
from deploy.operate.versions import lineage

app = typer.Typer()


@app.command(name="versions")
def show_versions(pipeline: PipelineFile, config_file: ConfigFile = None, as_json: AsJson = False) -> None:
    """List all versions that have served: since when, made of what, why, and who has signed them."""
    found = lineage.versions(pipeline, settings(pipeline, config_file))
    console = Console(stderr=as_json)
    view.show_versions(console, found)
    if said := lineage.begins(pipeline, settings(pipeline, config_file)):
        console.print(f"{said}: versions made of earlier commits cannot be made again", highlight=False)
    if as_json:
        print_json(found)


@app.command()
def show(pipeline: PipelineFile, version: Version, config_file: ConfigFile = None, as_json: AsJson = False) -> None:
    """Show all that is known of a version: evidence, recipe, size, what it learned from, and the chain of digests."""
    found = lineage.show(pipeline, settings(pipeline, config_file), version)
    view.show_one(Console(stderr=as_json), found)
    if as_json:
        print_json(found)


@app.command()
def diff(
    pipeline: PipelineFile, a: Version, b: Version, config_file: ConfigFile = None, as_json: AsJson = False
) -> None:
    """Show what is different in version B: recipe, packages, size, and how far the weights are apart."""
    found = lineage.diff(pipeline, settings(pipeline, config_file), a, b)
    view.show_difference(Console(stderr=as_json), found)
    if as_json:
        print_json(found)


@app.command()
def find(
    pipeline: PipelineFile,
    what: Annotated[str, typer.Argument(help="An id, or a time: ISO 8601, or milliseconds since 1970.")],
    config_file: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Find which version answered a prediction, what each expert said, and its outcomes; or what served at a time."""
    found = lineage.find(pipeline, settings(pipeline, config_file), what)
    view.show_answer(Console(stderr=as_json), found)
    if as_json:
        print_json(found)


@app.command()
def plan(pipeline: PipelineFile, config_file: ConfigFile = None, as_json: AsJson = False) -> None:
    """Say what a start of this pipeline would do: what has changed since the last one, and what follows from it."""
    found = operate.planned(pipeline, settings(pipeline, config_file))
    changes.show_plan(Console(stderr=as_json), found)
    if as_json:
        print_json(found)
    found.check()
