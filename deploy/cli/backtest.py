"""The command backtest.

Owns its arguments and where output goes. Does not know how anything is done.
"""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from deploy.cli.options import AsJson, ConfigFile, PipelineFile, plain, print_json, settings
from deploy.console.versions import backtest as view
from deploy.operate.versions import backtest as operate
from streams.errors import ConfigError

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
    events: Annotated[
        tuple[Path, Path] | None,
        typer.Option(metavar="REQUESTS OUTCOMES", help="Learn the events of these two files of JSON lines."),
    ] = None,
    kafka: Annotated[
        bool, typer.Option("--kafka", help="Learn the events that the pipeline's topics hold now.")
    ] = False,
    config_file: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Say what other promotion policies would have decided on what a run has recorded, and how well that would do.

    With --events or --kafka no run is needed: the loop learns these events, into a registry that is thrown away.
    """
    console, loaded = Console(stderr=as_json), settings(pipeline, config_file)
    if events and kafka:
        raise ConfigError("--events has files and --kafka topics: give one of them")
    if events or kafka:
        found = operate.on_events(pipeline, loaded, policy or [], events, since, to, say=plain(console))
    else:
        found = operate.backtest(pipeline, loaded, policy or [], since, to)
    view.show(console, found)
    if as_json:
        print_json(found)
