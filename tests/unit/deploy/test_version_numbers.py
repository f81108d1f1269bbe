"""A version is named as all output names it, v3, or by its number."""

from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from deploy.cli.commands import app
from deploy.cli.options import version_number


def test_a_version_may_have_its_v() -> None:
    assert (version_number("3"), version_number("v3"), version_number("v0")) == (3, 3, 0)


@pytest.mark.parametrize("text", ["", "v", "vv3", "three", "-1", "1.0", "²", "v" + "9" * 19])
def test_what_is_no_version_is_refused_with_what_is_one(text: str) -> None:
    with pytest.raises(typer.BadParameter, match=r"is no version; give its number, 3 or v3"):
        version_number(text)


@pytest.mark.parametrize(
    "command",
    [
        "show F two",
        "diff F 1 two",
        "rebuild F two",
        "export F two --to DIR",
        "promote F two --why x",
        "rollback F two --why x",
    ],
)
def test_every_command_that_takes_a_version_says_so(command: str, tmp_path: Path) -> None:
    asked = CliRunner().invoke(app, command.replace("F", str(tmp_path / "pipeline.py")).split(), env={"COLUMNS": "200"})
    assert asked.exit_code == 2
    assert "'two' is no version" in asked.output
