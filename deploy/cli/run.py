"""The commands run and demo. Owns their arguments and where output goes. Does not know how anything is done."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import msgspec
import typer
from rich.console import Console

from compressors.artifact import format as artifact
from deploy import config
from deploy.cli.options import AsJson, ConfigFile, Picture, PipelineFile, TakeOver, example, plain, print_json
from deploy.cli.options import settings as load
from deploy.console.loop import report
from deploy.console.loop.ending import told
from deploy.console.loop.picture import Snapshot
from deploy.console.loop.terminal import screen
from deploy.console.metrics.latest import fetched
from deploy.console.words import values
from deploy.operate.versions.drill import shuffle
from deploy.placement import Ray
from deploy.registry.reigns import base
from deploy.run import detached
from deploy.run.running import running
from deploy.run.session import Act
from deploy.run.summary import summarize
from streams.errors import ConfigError, ShadowstreamError

app = typer.Typer()
MAY_MS, AUGUST_MS = 1_367_366_400_000, 1_375_315_200_000  # the first, 2013, 00:00 UTC


def _drill(at_ms: int, *, serve: bool) -> Act:
    return Act(at_ms, lambda session: shuffle(session.registry, session.pipeline, serve=serve, seed=at_ms))


@app.command()
def demo(picture: Picture = None, as_json: AsJson = False) -> None:
    """Run the flights example from its start, on embedded services: eleven months of real flights in minutes.

    Twice what serves is shuffled: in May the copy competes, and must be refused; in August it is forced to serve, and
    must be taken back.
    """
    path = example("flights")
    embedded = {"kafka": config.Kafka(), "redis": config.Redis(), "ray": Ray(address="local")}
    settings = msgspec.structs.replace(config.load(path.with_name("shadowstream.toml")), **embedded)
    drills = _drill(MAY_MS, serve=False), _drill(AUGUST_MS, serve=True)
    _replay(path, settings, fresh=True, as_json=as_json, picture=picture, acts=drills)


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
    source: Annotated[
        str | None,
        typer.Option(
            "--from",
            metavar="REGISTRY",
            help="Begin a new feed with the champion and the learner of another registry: a folder or an address.",
        ),
    ] = None,
    detach: Annotated[
        bool, typer.Option("--detach", help="Leave it to the Ray cluster, and return; see stop and logs.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Run a pipeline until Ctrl-C. Kafka, Redis and Ray are embedded where its TOML file names none."""
    settings = load(pipeline, config_file)
    if detach:
        if replay or fresh or take_over or as_json:
            raise ConfigError("--detach goes with none of --replay, --fresh, --take-over and --json")
        say = plain(Console())
        new = detached.begin(pipeline, settings, say, source)
        say("the run goes on without this command" if new else "the run goes on already")
        return
    if replay:
        _replay(pipeline, settings, fresh=fresh, as_json=as_json, take_over=take_over, source=source)
        return
    console = Console(stderr=as_json)
    say = plain(console)
    begun = running(pipeline, settings, say, fresh=fresh, take_over=take_over, source=source)
    with (
        told(say, "the run"),
        begun as session,
        told(say, "the run", lambda: (session.line, session.left)),
        fetched(settings.metrics.listen) as latest,  # a run of which this one takes over has ended by now
        screen(console) as shown,
    ):
        for view in session.live():
            shown.show(view)
            latest.show(view)


def _replay(
    path: Path,
    settings: config.Settings,
    *,
    fresh: bool,
    as_json: bool,
    picture: Path | None = None,
    take_over: bool = False,
    source: str | None = None,
    acts: Sequence[Act] = (),
) -> None:
    console, snapshot = Console(stderr=as_json), Snapshot()
    say = plain(console)
    begun = running(path, settings, say, fresh=fresh, replay=True, take_over=take_over, source=source)
    with told(say, "the replay"), begun as session:
        with told(say, "the replay", lambda: (session.line, session.left)), screen(console) as shown:
            for view in session.play(acts):
                shown.show(view)
                snapshot.show(view)
        view, balance = session.look(), session.balance()
        digest = base(view.champions).artifact
        described = artifact.describe(session.registry.get(digest))
        speed = session.speeds()
        summary = summarize(view, balance, session.published(), described, speed)
        report.show(console, view, balance.equations, described, speed)
        report.ended(console, summary)
    if picture:
        snapshot.write(picture)
    if as_json:
        print_json(summary)
    else:
        say(
            f"{summary.samples:,} samples, {summary.lost} lost, {summary.doubled} doubled; served: "
            f"{values(summary.metrics['served'])}; frozen: {values(summary.metrics['frozen'])}; "
            f"{summary.promotions} promotions; {summary.seconds:.0f} s"
        )
    if not summary.balanced or summary.lost or summary.doubled:
        raise ShadowstreamError("an equation does not hold, events are lost or samples doubled; the tables say which")
