"""The commands export and import: versions to other registries, and from there.

Owns their arguments and where output goes. Does not know how anything is done.
"""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from deploy.cli.options import AsJson, ConfigFile, PipelineFile, Version, Who, Why, plain, print_json, settings
from deploy.operate.versions.exchange import exporting, importing

app = typer.Typer()


class Layout(StrEnum):
    """Whose folder it is."""

    huggingface = "huggingface"
    mlflow = "mlflow"


@app.command()
def export(
    pipeline: PipelineFile,
    version: Version,
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


@app.command(name="import")
def bring(
    pipeline: PipelineFile,
    folder: Annotated[Path, typer.Argument(help="A folder that `export` wrote, in either format.")],
    why: Why,
    who: Who = None,
    key: Annotated[Path | None, typer.Option(help="The public key (PEM) that must have signed the version.")] = None,
    config_file: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Take a version from a folder: as the first one, or as a candidate that must prove itself against what serves."""
    found = importing.bring(pipeline, settings(pipeline, config_file), folder, why=why, who=who, key=key)
    became = "version 0, which the next run serves"
    if found.candidate is not None:
        became = f"candidate {found.candidate}, loss {found.loss} on the newest samples; a run tests it from now on"
    plain(Console(stderr=as_json))(f"{found.source}: {became}")
    if as_json:
        print_json(found)
