"""Headers are contracts: what a module says that it does not know, it does not import.

Only the words below speak of imports; "does not know who reads them" is for people.
"""

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = ("streams", "compressors", "learners", "deploy")
FILES = ("pathlib", "os", "io", "shutil", "tempfile")
CLIENTS = ("kafka", "aiokafka", "redis")
IMPORTS = {
    "actors": ("ray", "deploy.processes.actors"),
    "arguments": ("typer",),
    "artifacts": ("compressors.artifact",),
    "broker": ("streams.kafka.broker", "streams.kafka.reading.source", "streams.kafka.admin"),
    "client": CLIENTS,
    "client libraries": CLIENTS,
    "client library": CLIENTS,
    "clients": CLIENTS,
    "commits": ("learners.commits", "deploy.registry.commits"),
    "consumer": ("streams.kafka.reading.source",),
    "engines": ("compressors.engines", "onnxruntime"),
    "feeds": ("deploy.feed",),
    "files": FILES,
    "joins": ("streams.join",),
    "kafka": ("kafka", "streams.kafka"),
    "layers": ("compressors.quantization.layers",),
    "losses": ("torch.nn.functional", "learners.tasks"),
    "models": ("learners.online.networks.network", "compressors.form", "deploy.pipeline"),
    "modules": ("torch.nn",),
    "optimizers": ("torch.optim",),
    "outcomes": ("streams.join",),
    "pyarrow": ("pyarrow",),
    "ray": ("ray",),
    "recipe": ("compressors.recipe",),
    "recipes": ("compressors.recipe",),
    "redis": ("redis", "streams.redis"),
    "registries": ("deploy.registry",),
    "requests": ("streams.kafka", "deploy.serving.server"),
    "samples": ("streams.events", "streams.outputs.samples"),
    "shards": ("streams.join.store", "streams.join.step.ShardState"),
    "stores": ("redis", "streams.redis", "streams.join.store"),
    "tables": ("rich",),
    "task": ("learners.tasks",),
    "tasks": ("learners.tasks",),
    "topics": ("streams.kafka",),
    "torch": ("torch",),
    "training": ("compressors.distillation.train",),
    "typer": ("typer",),
    "versions": ("deploy.registry",),
}
DENIAL = re.compile(
    r"(?:Does not know|Knows (?:no|neither|nothing of)|Imports (?:no|neither))\s([^.;:]+)", re.IGNORECASE
)
ONLY = re.compile(r"The only (?:file|module) that imports (\w+)(?: and (\w+))?")
NOUNS = re.compile(r"\b(" + "|".join(sorted(IMPORTS, key=len, reverse=True)) + r")\b", re.IGNORECASE)
ASIDE = re.compile(r"\([^)]*\)")
PARTS = re.compile(r",|\b(?:or|nor|and)\b")
CLAUSE = re.compile(r"\s*(?:how|that|what|when|where|whether|which|who|whose|why)\b")


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

    A clause is nothing that could be imported: of "artifacts, or who serves" only "artifacts" is.
    """
    lists = DENIAL.findall(ASIDE.sub("", words_of(docstring)))
    parts = [part for listed in lists for part in PARTS.split(listed) if not CLAUSE.match(part)]
    return {word.lower() for part in parts for word in NOUNS.findall(part)}


def words_of(docstring: str) -> str:
    return " ".join(docstring.split())


HEADERS = [(path, words_of(ast.get_docstring(tree) or ""), tree) for path, tree in modules()]
CLAIMS = [(path, word) for path, text, _ in HEADERS for word in sorted(denied(text))]
ONLIES = [(path, name) for path, text, _ in HEADERS for names in ONLY.findall(text) for name in filter(None, names)]
NO_MODEL = [path for path, text, _ in HEADERS if re.search(r"[Ii]mports (?:no|neither Ray nor a) model", text)]


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


def test_what_imports_no_model_does_not_import_it_through_another_file_either() -> None:
    assert len(NO_MODEL) == 6
    modules = ", ".join(path.removesuffix(".py").replace("/", ".") for path in NO_MODEL)
    subprocess.run(
        [sys.executable, "-c", f"import sys, {modules}; sys.exit('torch' in sys.modules)"], cwd=ROOT, check=True
    )


def test_what_imports_nothing_or_the_standard_library_only() -> None:
    alone = {path: imported(tree) for path, text, tree in HEADERS if "Imports nothing." in text}
    plain = {path: imported(tree) for path, text, tree in HEADERS if "Imports the standard library only." in text}
    assert set(alone) == {"compressors/errors.py"}
    assert not any(alone.values())
    assert set(plain) == {"deploy/embedded/keeper.py"}
    assert all(name.split(".")[0] in sys.stdlib_module_names for names in plain.values() for name in names)


def test_one_file_reads_the_environment() -> None:
    readers = [
        path
        for path, _, tree in HEADERS
        if any(getattr(node, "attr", getattr(node, "id", "")) in ("environ", "getenv") for node in ast.walk(tree))
    ]
    assert readers == ["deploy/config.py"]


def test_the_words_are_found() -> None:
    assert denied("Owns it. Does not know Kafka, Redis or recipes, nor who asks.") == {"kafka", "redis", "recipes"}
    assert denied("Knows no client library: it is mapped.") == {"client library"}
    assert denied("Does not know who reads the tables.") == set()
    assert denied("Does not know how masks (files of them) are chosen, or files.") == {"files"}
    assert denied("Imports neither Kafka nor a client.") == {"kafka", "client"}
    assert len(CLAIMS) >= 60
