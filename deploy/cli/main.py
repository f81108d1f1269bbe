"""The command `shadowstream`, and how its errors are shown.

Owns how an error ends: one line on standard error, and its exit code. Imports the commands only when it runs, so that
an error of ours in an import ends like any other.
"""

import sys
from importlib import import_module

from rich.console import Console

from streams.errors import ShadowstreamError


def main() -> None:
    """Run a command."""
    try:
        import_module("deploy.cli.commands").app(prog_name="shadowstream")
    except ShadowstreamError as wrong:
        Console(stderr=True).print(f"error: {wrong}", style="bold red", markup=False, highlight=False, soft_wrap=True)
        sys.exit(wrong.exit_code)


if __name__ == "__main__":
    main()
