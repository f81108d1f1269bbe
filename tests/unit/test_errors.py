"""The map of errors is whole: every class lives in a home of errors, and is drawn there, with its exit code."""

import ast
import builtins
import re
from inspect import getdoc, isclass
from pathlib import Path
from types import ModuleType

import pytest

import compressors.errors
import streams.errors
from streams.errors import ShadowstreamError

ROOT = Path(__file__).parents[2]
PACKAGES = ("streams", "compressors", "learners", "deploy")
HOMES = {"streams/errors.py": streams.errors, "compressors/errors.py": compressors.errors}
CLASSES = {module: [one for one in vars(module).values() if isclass(one)] for module in HOMES.values()}
OURS = [one for one in CLASSES[streams.errors] if issubclass(one, ShadowstreamError)]
BUILT_IN = {
    name for name, one in vars(builtins).items()
    if isclass(one) and issubclass(one, BaseException) and not issubclass(one, Warning)
}  # fmt: skip
LINE = re.compile(r"^(?P<indent>[ │]*(?:[├└]── )?)(?P<name>[A-Z]\w+)(?: +(?P<code>\d)\b)?", re.MULTILINE)


def errors_of(source: str, known: set[str]) -> set[str]:
    """Return the names of the classes in a module that derive from an error."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ClassDef):
            bases = {ast.unparse(base).rpartition(".")[2] for base in node.bases}
            if bases & (known | found):
                found.add(node.name)
    return found


def drawn(module: ModuleType) -> dict[str, tuple[str, str | None]]:
    """Return the tree in a module's docstring: a class's name, its parent's, and the exit code beside it."""
    path: dict[int, str] = {}
    tree: dict[str, tuple[str, str | None]] = {}
    for line in LINE.finditer((getdoc(module) or "").partition("\n\n")[2].partition("\n\n")[0]):
        depth = len(line["indent"])
        path = {at: name for at, name in path.items() if at < depth} | {depth: line["name"]}
        tree[line["name"]] = ([*path.values()][-2] if len(path) > 1 else "", line["code"])
    return tree


def test_every_error_lives_in_a_home_of_errors() -> None:
    known = BUILT_IN | {one.__name__ for classes in CLASSES.values() for one in classes}
    elsewhere = {
        f"{path}: {name}"
        for package in PACKAGES
        for path in (str(file.relative_to(ROOT)) for file in sorted((ROOT / package).rglob("*.py")))
        if path not in HOMES
        for name in errors_of((ROOT / path).read_text(), known)
    }
    assert not elsewhere
    assert errors_of("class A(x.StoreFull): ...\nclass B(A): ...\nclass C(UserWarning): ...", known) == {"A", "B"}


@pytest.mark.parametrize("module", HOMES.values())
def test_every_error_is_drawn_under_its_parent(module: ModuleType) -> None:
    tree = {name: parent for name, (parent, _) in drawn(module).items() if not hasattr(builtins, name)}
    parents = {one.__name__: str(one.__base__ and one.__base__.__name__) for one in CLASSES[module]}
    assert tree == parents | ({"ShadowstreamError": ""} if "ShadowstreamError" in parents else {})


@pytest.mark.parametrize("error", OURS)
def test_every_error_says_its_exit_code_and_whether_a_retry_helps(error: type[ShadowstreamError]) -> None:
    assert type(error.retry_helps) is bool
    own = vars(error).get("exit_code")
    assert drawn(streams.errors)[error.__name__][1] == (None if own is None else str(own))
    assert error.exit_code in range(1, 128)


def test_an_exit_code_belongs_to_one_branch() -> None:
    codes = [vars(error)["exit_code"] for error in OURS if "exit_code" in vars(error)]
    assert sorted(codes) == sorted({*codes})


def test_the_errors_that_a_retry_helps_are_drawn_as_retried() -> None:
    lines = (getdoc(streams.errors) or "").splitlines()
    said = {line["name"] for text in lines if "retried" in text and (line := LINE.match(text))}
    assert said == {error.__name__ for error in OURS if "retry_helps" in vars(error) and error.retry_helps}
