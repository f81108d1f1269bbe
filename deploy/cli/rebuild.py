"""The command rebuild: a version made again from the log, with all its events or without some.

Owns its arguments and where output goes. Does not know how anything is done.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from deploy.cli.options import AsJson, ConfigFile, PipelineFile, Version, print_json, settings
from deploy.console.versions import rebuild as view
from deploy.operate.versions.forget import forget
from deploy.operate.versions.versions import remake
from streams.errors import ConfigError

app = typer.Typer()


@app.command()
def rebuild(
    pipeline: PipelineFile,
    version: Version,
    without: Annotated[
        list[str] | None,
        typer.Option(help="Leave out all events of this id, or of the ids in @FILE, one a line; may be repeated."),
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Write the artifact to this file; --without needs it.")] = None,
    key: Annotated[
        Path | None,
        typer.Option(help="The private key (PEM, Ed25519) that signs the receipt; default: the registry's own."),
    ] = None,
    full: Annotated[
        bool, typer.Option("--full", help="Learn all commits again, not those since a kept state.")
    ] = False,
    config_file: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Make a version again from the log and compare the bits; or make it without some events, with a receipt."""
    console, loaded = Console(stderr=as_json), settings(pipeline, config_file)
    if not without:
        remade = remake(pipeline, loaded, version, full=full, out=out)
        view.show(console, remade)
        if as_json:
            print_json(remade)
        remade.check()
        return
    if out is None or full:
        raise ConfigError(
            "--without needs --out FILE for the artifact, and chooses by itself where to begin: no --full"
        )
    forgotten = forget(pipeline, loaded, version, ids_of(without), out=out, key=key)
    view.show_forgotten(console, forgotten)
    if as_json:
        print_json(forgotten)


def ids_of(given: Sequence[str]) -> frozenset[str]:
    """Return the ids that are given, each as it is, or by @FILE with one a line.

    Raises:
        ConfigError: a file cannot be read, or there is no id in all.
    """
    ids: set[str] = set()
    for one in given:
        ids.update(_lines(Path(one[1:])) if one.startswith("@") else [one])
    if not (ids := ids - {""}):
        raise ConfigError("--without names no id: give an id, or @FILE with one a line")
    return frozenset(ids)


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as wrong:
        raise ConfigError(f"--without: cannot read the ids in {path}: {wrong}") from None
