"""The command backup. Owns its arguments and where output goes. Does not know how anything is done."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from deploy.cli.options import AsJson, ConfigFile, plain, print_json
from deploy.cli.options import settings as load
from deploy.operate.registry import backup as copy

app = typer.Typer()


@app.command()
def backup(
    pipeline: Annotated[Path, typer.Argument(help="A pipeline.py.")],
    to: Annotated[Path, typer.Option(help="The folder of backups; below it is one for each feed.")],
    config_file: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Copy a feed's registry while the feed goes on; the next time, what is new. Every commit of the copy is read."""
    copied = copy.backup(pipeline, load(pipeline, config_file), to)
    plain(Console(stderr=True))(
        f"commits up to {copied.commit:,} and {copied.records:,} records; new: {copied.files:,} files, "
        f"{copied.bytes / 1e6:,.1f} MB"
    )
    if as_json:
        print_json(copied)
