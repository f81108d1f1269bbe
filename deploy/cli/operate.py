"""The operator's commands: audit, end-of-feed, accept-loss, gc, held, release, drop, check-receipt, sign, dead's.

Owns their questions and where output goes. Does not know how anything is done, nor how it looks.
"""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from deploy.cli.options import AsJson, ConfigFile, FeedFile, Who, Why, Yes, print_json, settings, version_number
from deploy.console import gc as gc_view
from deploy.console.join import audit as audit_view
from deploy.console.join import dead as dead_view
from deploy.console.join import held as held_view
from deploy.console.versions import receipts as receipts_view
from deploy.operate.join import actions, audit, dead
from deploy.operate.registry import gc, held
from deploy.operate.registry import sign as signs
from deploy.operate.versions import orders, receipts
from deploy.registry.opening import sign as sign_all
from deploy.registry.opening import unsigned
from learners.labels.holds import Said
from streams.errors import ConfigError

HeldBy = Annotated[str, typer.Argument(help="The source, as `held` lists it.")]
app = typer.Typer()
letters = typer.Typer(no_args_is_help=True, help="Records that could not be read: list, show, publish again.")
app.add_typer(letters, name="dead")


@app.command(name="audit")
def show_audit(
    feed: FeedFile,
    config_file: ConfigFile = None,
    verify: Annotated[bool, typer.Option("--verify", help="Join the log again in plain Python and compare.")] = False,
    rebuild: Annotated[
        bool,
        typer.Option(
            "--rebuild",
            help="Learn all commits again and compare with the learner's last state.",
        ),
    ] = False,
    waiting: Annotated[int, typer.Option(help="How many of the ids that have waited longest to list.")] = 10,
    as_json: AsJson = False,
) -> None:
    """Check that no event was lost or counted twice: every equation of the counters, by shard and partition."""
    report = audit.inspect(feed, settings(feed, config_file), compare=verify, rebuild=rebuild, waiting=waiting)
    audit_view.show(Console(stderr=as_json), report)
    if as_json:
        print_json(report)
    report.check()


@app.command(name="end-of-feed")
def end_of_feed(feed: FeedFile, why: Why, who: Who = None, config_file: ConfigFile = None, yes: Yes = False) -> None:
    """Declare that no more events come: every window closes, and a running join ends when all is written."""
    actions.end_feed(feed, settings(feed, config_file), why=why, who=who, ask=_ask(yes))


@app.command(name="accept-loss")
def accept_loss(
    feed: FeedFile,
    partition: Annotated[str, typer.Option(help="TOPIC:PARTITION, as the error message names it.")],
    why: Why,
    who: Who = None,
    config_file: ConfigFile = None,
    yes: Yes = False,
) -> None:
    """Go on although Kafka's retention removed records before they were read; they are counted as lost."""
    say = Console(stderr=True).print
    actions.accept_loss(
        feed, settings(feed, config_file), partition, why=why, who=who, ask=_ask(yes), say=lambda text: say(text)
    )


@app.command(name="check-receipt")
def check_receipt(
    file: Annotated[Path, typer.Argument(help="A receipt, as `rebuild --without` writes it.")],
    key: Annotated[
        Path | None, typer.Option(help="The public key (PEM) that must have signed it; default: the one it names.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Check that a receipt is as it was signed, and show it; needs no feed and no network."""
    signed = receipts.check(file, key)
    receipts_view.show(Console(stderr=as_json), signed.receipt)
    receipts_view.show_signed(Console(stderr=as_json), signed, named=key is not None)
    if as_json:
        print_json(signed)


@app.command()
def promote(
    pipeline: FeedFile,
    why: Why,
    version: Annotated[
        int | None, typer.Argument(parser=version_number, metavar="version", help="An earlier version: 3, or v3.")
    ] = None,
    candidate: Annotated[int | None, typer.Option(help="A candidate instead, whatever its test has shown.")] = None,
    who: Who = None,
    config_file: ConfigFile = None,
    yes: Yes = False,
) -> None:
    """Have a version or a candidate serve, on your word."""
    if (version is None) == (candidate is None):
        raise ConfigError("promote takes a version, or --candidate NUMBER, and not both")
    what = f"version {version}" if candidate is None else f"candidate {candidate}"
    _order(pipeline, "promote", what, why, who, config_file, yes, version=version, candidate=candidate)


@app.command()
def rollback(
    pipeline: FeedFile,
    why: Why,
    version: Annotated[
        int | None,
        typer.Argument(parser=version_number, metavar="version", help="Where to; default: the version before."),
    ] = None,
    who: Who = None,
    config_file: ConfigFile = None,
    yes: Yes = False,
) -> None:
    """Have the version before serve again; that which serves now never comes back by itself."""
    what = "the version before" if version is None else f"version {version}"
    _order(pipeline, "rollback", what, why, who, config_file, yes, version=version)


@app.command()
def pause(pipeline: FeedFile, why: Why, who: Who = None, config_file: ConfigFile = None, yes: Yes = False) -> None:
    """Have no version take over or go back by itself until `resume`."""
    _order(pipeline, "pause", "promotions and rollbacks", why, who, config_file, yes)


@app.command()
def resume(pipeline: FeedFile, why: Why, who: Who = None, config_file: ConfigFile = None, yes: Yes = False) -> None:
    """Have versions take over and go back by themselves again."""
    _order(pipeline, "resume", "promotions and rollbacks", why, who, config_file, yes)


def _order(
    path: Path, what: orders.What, of: str, why: str, who: str | None, config_file: Path | None, yes: bool,
    version: int | None = None, candidate: int | None = None,
) -> None:  # fmt: skip
    if not _ask(yes)(f"{what} {of}?"):
        raise ConfigError("the answer was no; nothing was changed")
    orders.order(path, settings(path, config_file), what, why=why, who=who, version=version, candidate=candidate)
    Console(stderr=True).print(f"{what}: {of}; the run does it in its next step")


@app.command()
def sign(pipeline: FeedFile, config_file: ConfigFile = None, yes: Yes = False) -> None:
    """Sign the versions, candidates and verdicts that no trusted key has signed, as they are."""
    console, registry = Console(stderr=True), signs.opened(pipeline, settings(pipeline, config_file))
    wrong = unsigned(registry)
    for line in wrong:
        console.print(line, markup=False, highlight=False, soft_wrap=True)
    if wrong and not _ask(yes)(f"sign these {len(wrong)}, and all that follow from them, as they are?"):
        raise ConfigError("the answer was no; nothing was signed")
    console.print(f"{sign_all(registry)} signed")


@app.command(name="gc")
def show_gc(
    pipeline: FeedFile,
    config_file: ConfigFile = None,
    apply: Annotated[bool, typer.Option("--apply", help="Delete what goes; a run does so by itself.")] = False,
    as_json: AsJson = False,
) -> None:
    """List what the registry keeps and for what, and which of the learner's states go."""
    kept = gc.collect(pipeline, settings(pipeline, config_file), apply=apply)
    gc_view.show(Console(stderr=as_json), kept)
    if as_json:
        print_json(kept)


@app.command(name="held")
def show_held(pipeline: FeedFile, config_file: ConfigFile = None, as_json: AsJson = False) -> None:
    """List the sources whose samples are held, not learned, until somebody releases or drops them."""
    listing = held.listed(pipeline, settings(pipeline, config_file))
    held_view.show(Console(stderr=as_json), listing)
    if as_json:
        print_json(listing)


@app.command()
def release(
    pipeline: FeedFile, source: HeldBy, why: Why, who: Who = None, config_file: ConfigFile = None, yes: Yes = False
) -> None:
    """Have a source's held samples learned, and trust it again."""
    _rule(pipeline, source, "release", why, who, config_file, yes)


@app.command()
def drop(
    pipeline: FeedFile, source: HeldBy, why: Why, who: Who = None, config_file: ConfigFile = None, yes: Yes = False
) -> None:
    """Have a source's held samples never learned, and hold the source until it is released."""
    _rule(pipeline, source, "drop", why, who, config_file, yes)


def _rule(path: Path, source: str, said: Said, why: str, who: str | None, config_file: Path | None, yes: bool) -> None:
    if not _ask(yes)(f"{said} the held samples of {source!r}?"):
        raise ConfigError("the answer was no; nothing was changed")
    of = held.rule(path, settings(path, config_file), source, said, why=why, who=who)
    Console(stderr=True).print(f"{said} {source}: {of.samples:,} samples; the learner takes it in its next step")


@letters.command(name="list")
def list_letters(
    feed: FeedFile,
    config_file: ConfigFile = None,
    limit: Annotated[int, typer.Option(help="How many records to list, the newest ones.")] = 50,
    as_json: AsJson = False,
) -> None:
    """Count the records that could not be read by reason, and list the newest."""
    listing = dead.listed(feed, settings(feed, config_file), limit)
    if as_json:
        print_json(listing)
    else:
        dead_view.show_list(Console(), listing)


@letters.command()
def show(
    feed: FeedFile,
    position: Annotated[str, typer.Argument(help="TOPIC/PARTITION/OFFSET, as `dead list` shows it.")],
    config_file: ConfigFile = None,
) -> None:
    """Show all that is kept of one record that could not be read."""
    dead_view.show_one(Console(), dead.letter(feed, settings(feed, config_file), position))


@letters.command()
def replay(
    feed: FeedFile,
    positions: Annotated[list[str] | None, typer.Argument(help="TOPIC/PARTITION/OFFSET, one or more.")] = None,
    reason: Annotated[str | None, typer.Option(help="Publish all records whose reason contains this text.")] = None,
    config_file: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Publish records again, each once, after the cause was fixed."""
    replayed = dead.replay(feed, settings(feed, config_file), reason=reason, positions=tuple(positions or ()))
    if as_json:
        print_json(replayed)
    else:
        dead_view.show_replayed(Console(), replayed)


def _ask(yes: bool) -> actions.Ask:
    return lambda question: yes or typer.confirm(question, err=True)
