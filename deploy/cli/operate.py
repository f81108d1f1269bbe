"""The operator's commands: audit, end-of-feed, accept-loss, dead list, dead show, dead replay.

Owns their arguments and questions. Does not know how anything is done.
"""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from deploy import config
from deploy.operate import actions as operate
from deploy.operate import dead as letters

app = typer.Typer()
dead = typer.Typer(no_args_is_help=True, help="What could not be read: list it, look at it, bring it back.")
app.add_typer(dead, name="dead")

FeedFile = Annotated[Path, typer.Argument(help="A pipeline.py or a feed.py.")]
ConfigFile = Annotated[
    Path | None, typer.Option("--config", help="The TOML file; default: shadowstream.toml beside the pipeline or feed.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object as the last line of standard output.")]
Who = Annotated[str | None, typer.Option(help="Who does it, for the record; default: the user of the system.")]
Why = Annotated[str, typer.Option(help="The reason, for the record.")]
Yes = Annotated[bool, typer.Option("--yes", help="Do not ask.")]


def settings(path: Path, given: Path | None) -> config.Settings:
    """Load the TOML file that was given, or that lies beside the pipeline or feed, if one does."""
    beside = path.with_name("shadowstream.toml")
    return config.load(given or (beside if beside.is_file() else None))


@app.command()
def audit(
    feed: FeedFile,
    config_file: ConfigFile = None,
    verify: Annotated[bool, typer.Option("--verify", help="Join the log again in plain Python and compare.")] = False,
    rebuild: Annotated[
        bool, typer.Option("--rebuild", help="Learn all commits again and compare the learner's last state with it.")
    ] = False,
    waiting: Annotated[int, typer.Option(help="How many of those that wait longest to list.")] = 10,
    as_json: AsJson = False,
) -> None:
    """Check that every position was counted and every count balances, by shard and partition."""
    operate.show_audit(
        feed, settings(feed, config_file), compare=verify, again=rebuild, waiting=waiting, as_json=as_json
    )


@app.command(name="end-of-feed")
def end_of_feed(feed: FeedFile, why: Why, who: Who = None, config_file: ConfigFile = None, yes: Yes = False) -> None:
    """Say that no more events come: every window closes, and what runs, ends."""
    operate.end_feed(feed, settings(feed, config_file), why=why, who=who, ask=_ask(yes))


@app.command(name="accept-loss")
def accept_loss(
    feed: FeedFile,
    partition: Annotated[str, typer.Option(help="TOPIC:NUMBER, as the error named it.")],
    why: Why,
    who: Who = None,
    config_file: ConfigFile = None,
    yes: Yes = False,
) -> None:
    """Go on behind records that retention removed before they were read; they are counted as lost."""
    say = Console(stderr=True).print
    operate.accept_loss(
        feed, settings(feed, config_file), partition, why=why, who=who, ask=_ask(yes), say=lambda text: say(text)
    )


@dead.command(name="list")
def list_letters(
    feed: FeedFile,
    config_file: ConfigFile = None,
    limit: Annotated[int, typer.Option(help="How many of the newest to list.")] = 50,
    as_json: AsJson = False,
) -> None:
    """List what was refused: by reason, then the newest."""
    letters.show_list(feed, settings(feed, config_file), limit=limit, as_json=as_json)


@dead.command()
def show(
    feed: FeedFile,
    position: Annotated[str, typer.Argument(help="TOPIC/PARTITION/OFFSET.")],
    config_file: ConfigFile = None,
) -> None:
    """Show all that is kept of one refused position."""
    letters.show_one(feed, settings(feed, config_file), position)


@dead.command()
def replay(
    feed: FeedFile,
    positions: Annotated[list[str] | None, typer.Argument(help="TOPIC/PARTITION/OFFSET, several.")] = None,
    reason: Annotated[str | None, typer.Option(help="All whose reason holds this text.")] = None,
    config_file: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """After a fix: publish refused records again, each once."""
    letters.replay(feed, settings(feed, config_file), reason=reason, positions=tuple(positions or ()), as_json=as_json)


def _ask(yes: bool) -> operate.Ask:
    return lambda question: yes or typer.confirm(question, err=True)
