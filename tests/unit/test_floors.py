"""The floors inside the packages: what the source says of them is what import-linter checks."""

import re
import tomllib
from pathlib import Path

import deploy

ROOT = Path(__file__).parents[2]


def floors(package: str) -> list[str]:
    """Return a package's files and folders from the top floor down, as pyproject.toml has them."""
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())
    contracts = settings["tool"]["importlinter"]["contracts"]
    layers = next(one["layers"] for one in contracts if one.get("containers") == [package])
    return [name for layer in layers for name in layer.split(" | ")]


def test_deploy_lists_its_floors_as_they_are_checked() -> None:
    listed = re.findall(r"^(\w+)(?:/|\.py)  ", deploy.__doc__ or "", re.MULTILINE)
    assert listed == floors("deploy")
