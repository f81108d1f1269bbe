"""kafka-python's private parts: one file has them, and only for the versions that were tested."""

import ast
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from streams.errors import ConfigError
from streams.kafka.internals import check

ROOT = Path(__file__).parents[4]
ADAPTER = ROOT / "streams" / "kafka"
PUBLIC = {"kafka", "kafka.admin", "kafka.structs"}


def bounds() -> Requirement:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    return next(one for one in map(Requirement, project["dependencies"]) if one.name == "kafka-python")


@pytest.mark.parametrize("installed", ["2.3.3", "3.0.11", "3.0.12", "3.0.40", "3.0.13.post1", "3.1.0", "3.1", "4.0.0"])
def test_the_versions_that_are_taken_are_those_of_the_project(installed: str) -> None:
    if bounds().specifier.contains(installed):
        check(installed)
    else:
        with pytest.raises(ConfigError, match=f"^kafka-python {installed} was not tested.*>=3.0.12,<3.1$"):
            check(installed)


def test_no_other_file_imports_what_the_client_does_not_document() -> None:
    for path in ADAPTER.glob("*.py"):
        modules = {node.module for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.ImportFrom)}
        hidden = {name for name in modules if str(name).partition(".")[0] == "kafka"} - PUBLIC
        assert not hidden or path.name == "internals.py", f"{path.name}: {hidden}"


def test_no_other_file_reaches_into_an_object_that_is_not_its_own() -> None:
    for path in ADAPTER.glob("*.py"):
        private = {
            ast.unparse(node)
            for node in ast.walk(ast.parse(path.read_text()))
            if isinstance(node, ast.Attribute) and node.attr.startswith("_") and not node.attr.startswith("__")
            and ast.unparse(node.value) not in ("self", "cls")
        }  # fmt: skip
        assert not private or path.name == "internals.py", f"{path.name}: {private}"
