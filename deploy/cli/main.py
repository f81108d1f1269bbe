"""The command `shadowstream`, and how its errors are shown.

Owns how an error ends: one line on standard error, and its exit code. Imports the commands only when it runs, so that
an error of ours in an import ends like any other.
"""

import sys
from importlib import import_module
from typing import NoReturn

from deploy.cli.signals import orderly
from streams.errors import ShadowstreamError


def main() -> None:
    """Run a command; it ends in order at Ctrl-C, SIGTERM and SIGHUP."""
    sys.exit(orderly(_run))


def _run() -> None:
    try:
        import_module("deploy.cli.commands").app(prog_name="shadowstream")
    except ShadowstreamError as wrong:
        _end(str(wrong), wrong.exit_code)
    except OSError as wrong:  # a folder that cannot be written, a full disk
        where = f"cannot use {wrong.filename}: " if wrong.filename else ""
        _end(f"{where}{wrong.strerror or wrong}", ShadowstreamError.exit_code)


def _end(text: str, code: int) -> NoReturn:
    """Print an error without what would move a terminal's cursor, and exit."""
    plain = "".join(letter if letter.isprintable() or letter == "\n" else repr(letter)[1:-1] for letter in text)
    console = import_module("rich.console").Console(stderr=True)
    console.print(f"error: {plain}", style="bold red", markup=False, highlight=False, soft_wrap=True)
    sys.exit(code)


if __name__ == "__main__":
    main()
