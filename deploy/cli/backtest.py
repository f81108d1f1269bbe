"""The command backtest.

Owns its arguments and where output goes. Does not know how anything is done.
"""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from deploy.cli.options import AsJson, ConfigFile, PipelineFile, print_json, settings
from deploy.console.versions import backtest as view
from deploy.operate.versions import backtest as operate

app = typer.Typer()


@app.command()
def backtest(
    pipeline: PipelineFile,
    policy: Annotated[
        list[Path] | None,
        typer.Option(help="A TOML file of keys of Promotion(...) that are others; may be given several times."),
    ] = None,
    since: Annotated[
        str | None, typer.Option("--from", help="Count from then on: ISO 8601, or milliseconds since 1970.")
    ] = None,
    to: Annotated[str | None, typer.Option(help="Until when: ISO 8601, or milliseconds since 1970.")] = None,
    config_file: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Say what other promotion policies would have decided on what a run has recorded, and how well that would do."""
    found = operate.backtest(pipeline, settings(pipeline, config_file), policy or [], since, to)
    view.show(Console(stderr=as_json), found)
    if as_json:
        print_json(found)
