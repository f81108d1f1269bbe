"""The commands stop and logs, for a run that outlives the command that began it.

Owns their arguments and where output goes. Does not know how anything is done.
"""

from typing import Annotated

import typer
from rich.console import Console

from deploy.cli.options import ConfigFile, PipelineFile, plain, settings
from deploy.run import detached

app = typer.Typer()


@app.command()
def stop(pipeline: PipelineFile, config_file: ConfigFile = None) -> None:
    """End a run that was begun with --detach; what it has learned stays."""
    ended = detached.end(pipeline, settings(pipeline, config_file))
    plain(Console())("the run has ended; the next one goes on where it was" if ended else "there is no detached run")


@app.command()
def logs(
    pipeline: PipelineFile,
    role: Annotated[str, typer.Argument(help="server, joiner-0, learner, ..., or supervisor.")],
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Show what comes, too, until Ctrl-C.")] = False,
    config_file: ConfigFile = None,
) -> None:
    """Show what a role of a run that was begun with --detach has printed since its process began."""
    for text in detached.log(pipeline, settings(pipeline, config_file), role, follow=follow):
        print(text, end="", flush=True)  # noqa: T201 this is the output
