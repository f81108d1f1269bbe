"""The command metrics. Owns its arguments and where output goes. Does not know what is told, nor how it is fetched."""

from pathlib import Path
from threading import Event
from typing import Annotated

import typer
from rich.console import Console

from deploy.cli.options import ConfigFile, plain
from deploy.cli.options import settings as load
from deploy.config import listening
from deploy.console.metrics.latest import Looks
from deploy.console.metrics.server import serving
from deploy.console.metrics.text import name_of, text
from deploy.feed import load as load_feed
from deploy.operate.status import status

app = typer.Typer()


@app.command()
def metrics(
    feed: Annotated[Path, typer.Argument(help="A pipeline.py or a feed.py.")],
    config_file: ConfigFile = None,
    listen: Annotated[
        str | None, typer.Option(help="HOST:PORT of this machine at which to answer, until Ctrl-C.")
    ] = None,
) -> None:
    """Print what Prometheus is told of a run or a join that runs elsewhere, or answer it at --listen."""
    settings = load(feed, config_file)
    if listen is None:
        look = status(feed, settings)
        print(text(name_of(look), look), end="")  # noqa: T201 this is the output
        return
    at, looks = listening(listen, "--listen"), Looks(feed, settings, load_feed(feed).name)
    try:
        with serving(at, looks.metrics, looks.unwell) as where:
            plain(Console(stderr=True))(f"metrics at http://{where.name}:{where.port}/metrics")
            Event().wait()
    finally:
        looks.close()
