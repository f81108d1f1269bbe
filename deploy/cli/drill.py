"""The command drill.

Owns its arguments and where output goes. Does not know how a drill is done.
"""

from typing import Annotated

import typer
from rich.console import Console

from deploy.cli.options import AsJson, ConfigFile, PipelineFile, print_json, settings
from deploy.operate.versions import drill

app = typer.Typer()


@app.command(name="drill")
def show_drill(
    pipeline: PipelineFile,
    serve: Annotated[bool, typer.Option("--serve", help="Have it take over, to see that it is taken back.")] = False,
    config_file: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Let a copy of what serves compete, its weights shuffled: it must be refused, or with --serve taken back."""
    found = drill.drill(pipeline, settings(pipeline, config_file), serve=serve)
    text = f"candidate {found.number} is what serves, shuffled: loss {found.figures.loss} on held-out rows"
    Console(stderr=as_json).print(text, highlight=False)
    if as_json:
        print_json(found)
