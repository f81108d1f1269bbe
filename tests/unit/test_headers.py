"""Headers are contracts: what a module says that it does not know, it does not import.

Only the words below speak of imports; "does not know who reads them" is for people.
"""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = ("streams", "compressors", "learners", "deploy")
IMPORTS = {
    "actors": ("ray", "deploy.processes.actors"),
    "artifacts": ("compressors.artifact",),
    "client library": ("kafka", "redis"),
    "engines": ("compressors.engines", "onnxruntime"),
    "kafka": ("kafka", "streams.kafka"),
    "optimizers": ("torch.optim",),
    "pyarrow": ("pyarrow",),
    "ray": ("ray",),
    "recipes": ("compressors.recipe",),
    "redis": ("redis", "streams.redis"),
    "registries": ("deploy.registry",),
    "tables": ("rich",),
    "torch": ("torch",),
}
DENIAL = re.compile(r"(?:Does not know|Knows (?:no|neither|nothing of)|Imports neither)\s([^.;:]+)", re.IGNORECASE)
ONLY = re.compile(r"The only (?:file|module) that imports (\w+)")
NOUNS = re.compile(r"\b(" + "|".join(IMPORTS) + r")\b", re.IGNORECASE)
SUBORDINATE = re.compile(r"\b(?:how|what|when|where|whether|which|who|whose|why)\b")


def modules() -> Iterator[tuple[str, ast.Module]]:
    for package in PACKAGES:
        for path in sorted((ROOT / package).rglob("*.py")):
            yield str(path.relative_to(ROOT)), ast.parse(path.read_text())


def imported(tree: ast.Module) -> set[str]:
    """Return the dotted names that a module imports."""
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {one.name for one in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {f"{node.module}.{one.name}" for one in node.names}
    return names


def denied(docstring: str) -> set[str]:
    """Return the words of `IMPORTS` that a header says its module does not know.

    A clause ends the list: of "artifacts, or who serves" only "artifacts" is a thing that could be imported.
    """
    text = " ".join(docstring.split())
    lists = (SUBORDINATE.split(clause)[0] for clause in DENIAL.findall(text))
    return {word.lower() for listed in lists for word in NOUNS.findall(listed)}


CLAIMS = [(path, word) for path, tree in modules() for word in sorted(denied(ast.get_docstring(tree) or ""))]
ONLIES = [(path, name) for path, tree in modules() for name in ONLY.findall(ast.get_docstring(tree) or "")]


def inside(name: str, package: str) -> bool:
    return name == package or name.startswith(f"{package}.")


@pytest.mark.parametrize(("path", "word"), CLAIMS)
def test_what_a_header_does_not_know_is_not_imported(path: str, word: str) -> None:
    names = imported(ast.parse((ROOT / path).read_text()))
    known = {name for name in names for package in IMPORTS[word] if inside(name, package)}
    assert not known, f"{path} says that it does not know {word}"


@pytest.mark.parametrize(("path", "name"), ONLIES)
def test_the_only_file_that_imports_something_is_the_only_one(path: str, name: str) -> None:
    assert [at for at, tree in modules() if any(inside(one, name) for one in imported(tree))] == [path]


def test_the_words_are_found() -> None:
    assert denied("Owns it. Does not know Kafka, Redis or recipes, nor who asks.") == {"kafka", "redis", "recipes"}
    assert denied("Knows no client library: it is mapped.") == {"client library"}
    assert denied("Does not know who reads the tables.") == set()
    assert len(CLAIMS) >= 10
