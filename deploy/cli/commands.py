"""The commands init, demo, run, join and status, and the application that all commands are part of.

Owns their arguments and where output goes: people read the tables, programs the last line of standard output. Does not
know how anything is done.
"""

from collections.abc import Callable
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Annotated

import msgspec
import typer
from rich.console import Console

from compressors.artifact import format as artifact
from deploy import config
from deploy.cli import compress as cli_compress
from deploy.cli import operate as cli_operate
from deploy.cli.options import AsJson, ConfigFile, FeedFile, Picture, PipelineFile, TakeOver, print_json
from deploy.cli.options import settings as load
from deploy.console import report
from deploy.console.counters import outstanding
from deploy.console.ending import told
from deploy.console.join import line, show_look, shown
from deploy.console.picture import Snapshot, svg
from deploy.console.terminal import screen
from deploy.console.view import draw, values
from deploy.monitor import View
from deploy.operate.attach import addresses
from deploy.operate.start import start
from deploy.operate.status import status
from deploy.run.join import joining
from deploy.run.left import Left
from deploy.run.session import running
from deploy.run.summary import summarize
from streams.errors import ConfigError, ShadowstreamError

app = typer.Typer(add_completion=False, no_args_is_help=True, pretty_exceptions_enable=False)
app.add_typer(cli_operate.app)
app.add_typer(cli_compress.app)


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
def demo(picture: Picture = None, as_json: AsJson = False) -> None:
    """Run the flights example from its start, on embedded services: eleven months of real flights in minutes."""
    path = example("flights")
    embedded = {"kafka": config.Kafka(), "redis": config.Redis(), "ray": config.Ray()}
    settings = msgspec.structs.replace(config.load(path.with_name("shadowstream.toml")), **embedded)
    _replay(path, settings, fresh=True, as_json=as_json, picture=picture)


@app.command()
def run(
    pipeline: PipelineFile,
    config_file: ConfigFile = None,
    replay: Annotated[
        bool, typer.Option(help="Publish the pipeline's recorded feed, report the results, and end.")
    ] = False,
    fresh: Annotated[
        bool, typer.Option(help="First delete all that earlier runs of this pipeline have learned.")
    ] = False,
    take_over: TakeOver = False,
    as_json: AsJson = False,
) -> None:
    """Run a pipeline until Ctrl-C. Kafka, Redis and Ray are embedded where its TOML file names none."""
    settings = load(pipeline, config_file)
    if replay:
        _replay(pipeline, settings, fresh=fresh, as_json=as_json, take_over=take_over)
        return
    console = Console(stderr=as_json)
    say, begun = _plain(console), running(pipeline, settings, console.print, fresh=fresh, take_over=take_over)
    with (
        told(say, "the run"),
        begun as session,
        told(say, "the run", lambda: (session.line, session.left)),
        screen(console) as shown,
    ):
        for view in session.live():
            shown.show(view)


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
    say = _plain(console)

    def seen() -> tuple[str, Left | None]:
        if as_json and begun.last:
            print_json(begun.last)
        return line(begun.last) if begun.last else "", begun.left

    with told(say, "the join"), joining(feed, settings, say, fresh=fresh, back=rewind, take_over=take_over) as begun:
        with told(say, "the join", seen), shown(console) as show:
            for view in begun.live():
                show(view)
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


def example(name: str) -> Path:
    """Return an example's pipeline.py: in a clone it is beside this package, in a wheel inside it."""
    here = Path(__file__).resolve().parents[1]
    for folder in (here.parent / "examples", here / "examples"):
        if (folder / name / "pipeline.py").is_file():
            return folder / name / "pipeline.py"
    raise ConfigError(f"the example {name!r} is not installed")


def _plain(console: Console) -> Callable[[str], None]:
    """Return what prints a line as it is, however long."""
    return partial(console.print, highlight=False, markup=False, soft_wrap=True)


def _replay(
    path: Path,
    settings: config.Settings,
    *,
    fresh: bool,
    as_json: bool,
    picture: Path | None = None,
    take_over: bool = False,
) -> None:
    console, snapshot = Console(stderr=as_json), Snapshot()
    say, begun = _plain(console), running(path, settings, console.print, fresh=fresh, replay=True, take_over=take_over)
    with told(say, "the replay"), begun as session:
        with told(say, "the replay", lambda: (session.line, session.left)), screen(console) as shown:
            for view in session.play():
                shown.show(view)
                snapshot.show(view)
        view, balance = session.look(), session.balance()
        digest = view.champions[-1].artifact
        described = artifact.describe(session.registry.get(digest))
        speed = session.speeds()
        summary = summarize(view, balance, session.published(), described, speed)
        report.show(console, view, balance.equations, described, speed)
        console.print(report.figures(summary))
    if picture:
        snapshot.write(picture)
    if as_json:
        print_json(summary)
    else:
        console.print(
            f"{summary.samples:,} samples, {summary.lost} lost, {summary.doubled} doubled; served: "
            f"{values(summary.metrics['served'])}; frozen: {values(summary.metrics['frozen'])}; "
            f"{summary.promotions} promotions; {summary.seconds:.0f} s"
        )
    if not summary.balanced or summary.lost or summary.doubled:
        raise ShadowstreamError("an equation does not hold, events are lost or samples doubled; the tables say which")
