"""The arguments and options that several commands share, and how results are printed for programs."""

from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer

from deploy import config

FeedFile = Annotated[Path, typer.Argument(help="A pipeline.py or a feed.py.")]
PipelineFile = Annotated[Path, typer.Argument(help="The pipeline.py.")]
ConfigFile = Annotated[
    Path | None, typer.Option("--config", help="The TOML file; default: shadowstream.toml beside the pipeline or feed.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object as the last line of standard output.")]
Picture = Annotated[Path | None, typer.Option(help="Draw the live view as an SVG, to live-view.svg, say.")]
Who = Annotated[str | None, typer.Option(help="Who does it, for the record; default: this machine's user.")]
Why = Annotated[str, typer.Option(help="The reason, for the record.")]
Yes = Annotated[bool, typer.Option("--yes", help="Do not ask for confirmation.")]


def settings(path: Path, config_file: Path | None) -> config.Settings:
    """Load `config_file`, or else the TOML file beside the pipeline or feed, if there is one."""
    beside = path.with_name("shadowstream.toml")
    return config.load(config_file or (beside if beside.is_file() else None))


def print_json(result: Any) -> None:
    """Print a result on one line of standard output."""
    print(msgspec.json.encode(result).decode())  # noqa: T201 this is the output
