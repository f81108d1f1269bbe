"""A function's digest changes with what it does, and not with how it is written down."""

from pathlib import Path
from typing import Any

import pytest

from deploy.changes.code import code_of
from deploy.loading import imported
from streams.readers import json_request

BEFORE = """
SCALE = 100
def half(x):
    return x / 2
def encode(rows):
    return [half(row) / SCALE for row in rows]
"""


def function(folder: Path, text: str, name: str) -> Any:
    path = folder / f"{name}.py"
    path.write_text(text)
    return imported(path, "pipeline").encode


@pytest.mark.parametrize(
    ("old", "new", "same"),
    [
        ("def encode", "# a comment\n\ndef encode", True),
        ("return x / 2", "return (x\n        / 2)", True),
        ("row in rows", "row in rows if row", False),
        ("SCALE = 100", "SCALE = 10", False),
        ("x / 2", "x / 3", False),
        ("def half", "def unused(x):\n    return 7\ndef half", True),
    ],
)
def test_what_a_function_names_counts(tmp_path: Path, old: str, new: str, same: bool) -> None:
    before, after = function(tmp_path, BEFORE, "before"), function(tmp_path, BEFORE.replace(old, new), "after")
    assert (code_of(before) == code_of(after)) is same


def test_a_function_of_a_package_is_its_name() -> None:
    assert code_of(json_request) == "json_request"


def test_functions_that_name_each_other_end(tmp_path: Path) -> None:
    text = "def other(rows):\n    return encode(rows)\ndef encode(rows):\n    return rows and other(rows[1:])\n"
    assert len(code_of(function(tmp_path, text, "turns"))) == 16
