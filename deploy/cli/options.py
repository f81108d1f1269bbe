"""What several commands share: arguments and options, where the examples are, and how results are printed."""

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer
from rich.console import Console

from deploy import config
from deploy.operate.files import check_file
from streams.errors import ConfigError


def _writable(path: Path | None) -> Path | None:
    """Return the path of a file to write."""
    check_file(path)
    return path


def version_number(text: str | int) -> int:
    """Return a version's number, which may have the v that all output puts before it.

    Raises:
        typer.BadParameter: it is no number.
    """
    number = str(text).removeprefix("v")
    if not (number.isascii() and number.isdecimal() and len(number) <= 18):
        raise typer.BadParameter(f"{text!r} is no version; give its number, 3 or v3, as `versions` shows it")
    return int(number)


Version = Annotated[int, typer.Argument(parser=version_number, metavar="version", help="A version: 3, or v3.")]
FeedFile = Annotated[Path, typer.Argument(help="A pipeline.py or a feed.py.")]
PipelineFile = Annotated[Path, typer.Argument(help="The file that defines the pipeline, such as pipeline.py.")]
ConfigFile = Annotated[
    Path | None,
    typer.Option("--config", help="Settings; default: shadowstream.toml beside the pipeline or feed."),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object as the last line of standard output.")]
Picture = Annotated[Path | None, typer.Option(callback=_writable, help="Write the live view to this file, as an SVG.")]
Who = Annotated[str | None, typer.Option(help="Who does it; kept with the reason. Default: your user name.")]
Why = Annotated[str, typer.Option(help="The reason, which is kept with the feed.")]
TakeOver = Annotated[
    bool, typer.Option("--take-over", help="Take the feed from another run that has it; that one ends.")
]
Yes = Annotated[bool, typer.Option("--yes", help="Do not ask for confirmation.")]


def settings(path: Path, config_file: Path | None) -> config.Settings:
    """Load `config_file`, or else the TOML file in the folder of the pipeline or feed, if there is one."""
    beside = path.parent / "shadowstream.toml"
    return config.load(config_file or (beside if beside.is_file() else None))


def print_json(result: Any) -> None:
    """Print a result on one line of standard output, with an escape for each character that cannot be printed."""
    text = msgspec.json.encode(result).decode()
    print("".join(c if c.isprintable() else json.dumps(c)[1:-1] for c in text))  # noqa: T201 this is the output


def example(name: str) -> Path:
    """Return an example's pipeline.py: in a clone it is beside this package, in a wheel inside it."""
    here = Path(__file__).resolve().parents[1]
    for folder in (here.parent / "examples", here / "examples"):
        if (folder / name / "pipeline.py").is_file():
            return folder / name / "pipeline.py"
    raise ConfigError(f"the example {name!r} is not installed")


def plain(console: Console) -> Callable[[str], None]:
    """Return what prints a line as it is, however long."""
    return partial(console.print, highlight=False, markup=False, soft_wrap=True)
