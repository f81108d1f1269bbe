"""The commands init, join and status, and the application that all commands are part of.

Owns their arguments and where output goes: people read the tables, programs the last line of standard output. Does not
know how anything is done. The commands for models are imported when one of them is called, or for help: they need
torch, and it takes more time and memory than all the rest.
"""

from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from typer.core import TyperGroup

from deploy.cli import backup as cli_backup
from deploy.cli import metrics as cli_metrics
from deploy.cli import operate as cli_operate
from deploy.cli.options import AsJson, ConfigFile, FeedFile, Picture, TakeOver, example, plain, print_json
from deploy.cli.options import settings as load
from deploy.console.join.counters import outstanding
from deploy.console.join.join import line, show_look, shown
from deploy.console.loop.ending import told
from deploy.console.loop.picture import svg
from deploy.console.loop.view import draw
from deploy.console.metrics.latest import fetched
from deploy.monitor import View
from deploy.operate.attach import addresses
from deploy.operate.start import start
from deploy.operate.status import status
from deploy.run.join import joining
from deploy.run.left import Left

MODELS = (
    "deploy.cli.run", "deploy.cli.detached", "deploy.cli.compress", "deploy.cli.rebuild",
    "deploy.cli.versions", "deploy.cli.exchange", "deploy.cli.drill", "deploy.cli.backtest",
)  # fmt: skip


class Commands(TyperGroup):
    """The commands of `app`, and those of `MODELS` once one of them is asked for, or all are."""

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """Return a command, or None."""
        if cmd_name not in self.commands:
            self.list_commands(ctx)
        return super().get_command(ctx, cmd_name)

    def list_commands(self, ctx: Any) -> list[str]:
        """Return the names of all commands."""
        for module in MODELS:
            self.commands.update(typer.main.get_group(import_module(module).app).commands)
        return super().list_commands(ctx)


app = typer.Typer(cls=Commands, add_completion=False, no_args_is_help=True, pretty_exceptions_enable=False)
app.add_typer(cli_operate.app)
app.add_typer(cli_metrics.app)
app.add_typer(cli_backup.app)


def show_version(wanted: bool) -> None:
    """Print the version and exit."""
    if wanted:
        print(f"shadowstream {version('shadowstream')}")  # noqa: T201 this is the output
        raise typer.Exit


@app.callback()
def shadowstream(
    version: Annotated[
        bool, typer.Option("--version", callback=show_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """Keep a deployed model learning from the outcomes of its own predictions."""


@app.command()
def init(name: Annotated[str, typer.Argument(help="The new pipeline's name, and its folder's.")]) -> None:
    """Write a pipeline, its settings, a producer of sample events and a README that work together."""
    for path in start(name, example("start").parent, Path(name)):
        print(path)  # noqa: T201 this is the output
    Console(stderr=True).print(
        f"next: cd {name}; shadowstream run pipeline.py; in another terminal there: python produce.py", soft_wrap=True
    )


@app.command()
def join(
    feed: Annotated[Path, typer.Argument(help="A feed.py, or a pipeline.py to join its feed.")],
    config_file: ConfigFile = None,
    fresh: Annotated[bool, typer.Option(help="First delete all that this feed has in the registry's folder.")] = False,
    rewind: Annotated[
        bool,
        typer.Option(help="Mark as outdated what was written and a store restored from an older copy no longer knows."),
    ] = False,
    take_over: TakeOver = False,
    as_json: AsJson = False,
) -> None:
    """Join a feed without a model; each labelled sample goes once to a Redis stream, a Kafka topic or Parquet."""
    console, settings = Console(stderr=as_json), load(feed, config_file)
    say = plain(console)

    def seen() -> tuple[str, Left | None]:
        if as_json and begun.last:
            print_json(begun.last)
        return line(begun.last) if begun.last else "", begun.left

    joins = joining(feed, settings, say, fresh=fresh, back=rewind, take_over=take_over)
    with told(say, "the join"), joins as begun, fetched(settings.metrics.listen) as latest:
        with told(say, "the join", seen), shown(console) as show:
            for view in begun.live():
                show(view)
                latest.show(view)
        summary = begun.look()
    if as_json:
        print_json(summary)
    else:
        show_look(console, summary, "the feed has ended. ")


@app.command(name="status")
def show_status(
    feed: FeedFile,
    config_file: ConfigFile = None,
    picture: Picture = None,
    as_json: AsJson = False,
) -> None:
    """Show how far a run or a join is: the version that serves, each candidate, and what became no sample and why."""
    settings, console = load(feed, config_file), Console(stderr=as_json)
    view = status(feed, settings)
    if isinstance(view, View):
        console.print(draw(view))
    else:
        show_look(console, view)
    console.print(outstanding(view.counters))
    console.print(addresses(feed, settings), highlight=False, soft_wrap=True)
    if as_json:
        print_json(view)
    if picture and isinstance(view, View):
        picture.write_text(svg(view), encoding="utf-8")
