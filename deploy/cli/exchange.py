"""The command export: versions to other registries.

Owns its arguments and where output goes. Does not know how anything is done.
"""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from deploy.cli.options import AsJson, ConfigFile, PipelineFile, plain, print_json, settings
from deploy.operate.exchange import exporting

app = typer.Typer()


class Layout(StrEnum):
    """Whose folder it is."""

    huggingface = "huggingface"
    mlflow = "mlflow"


@app.command()
def export(
    pipeline: PipelineFile,
    version: Annotated[int, typer.Argument(help="A version, as `versions` shows it: 3 is v3.", min=0)],
    to: Annotated[Path, typer.Option(help="The folder to write, which must not be there.")],
    layout: Annotated[Layout, typer.Option("--format", help="Whose folder it is.")] = Layout.huggingface,
    config_file: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Write a version into a folder, with its evidence, lineage, recipe and digest, as others' registries store it."""
    passport = exporting.export(pipeline, settings(pipeline, config_file), version, to, layout.value)
    plain(Console(stderr=as_json))(f"{to}: version {version} of {passport.feed}, SHA-256 {passport.artifact}")
    if as_json:
        print_json(passport)
