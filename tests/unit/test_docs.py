"""The documentation: it names every setting with its default, its examples load, and whatever it points to exists."""

import json
import re
from dataclasses import MISSING, fields, replace
from pathlib import Path
from typing import Any

import msgspec
import pytest
import torch
from typer.main import get_command

from deploy import config, feed, pipeline
from deploy.cli.commands import app
from deploy.config import SECTIONS
from deploy.feed import Feed
from deploy.pipeline import RECIPE, Pipeline
from learners.evaluation.canary import Canary
from learners.evaluation.gate import Promotion
from learners.evaluation.guards.guard import GuardRails
from learners.labels.settings import Trust
from learners.live.settings import Live, Wide
from learners.online.private import Private
from learners.online.settings import Online
from learners.tasks.bandit import Bandit
from learners.tasks.binary import Binary
from learners.tasks.classes import Classes
from learners.tasks.multilabel import MultiLabel
from learners.tasks.next_token import NextToken
from learners.tasks.ranking import Ranking
from learners.tasks.regression import Number, Quantile, Regression
from learners.tasks.sequence_score import SequenceScore
from learners.tasks.task import Answering
from streams.errors import ShadowstreamError
from streams.events import Prediction
from streams.redis.rights import rule
from tests import small

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
README = ROOT / "README.md"
PAGES = [README, *sorted(DOCS.rglob("*.md"))]
TODAY = [page for page in PAGES if not page.is_relative_to(DOCS / "log")]  # the log's old entries name what is gone
FOLDERS = ("benchmarks", "compressors", "deploy", "docs", "examples", "learners", "streams", "tests")
NONE = "–"


def id_of(page: Path) -> str:
    """Name a test's page."""
    return page.relative_to(ROOT).as_posix()


def without_code(page: Path) -> str:
    """Return a page's text without its blocks of code."""
    fenced = re.sub(r"^```.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    return re.sub(r"^(?: {4}|\t).*$", "", fenced, flags=re.MULTILINE)


def anchors(page: Path) -> set[str]:
    """Return what `#…` can point to in a page, by GitHub's rule."""
    headings = re.findall(r"^#+ (.+)$", without_code(page), flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def blocks(page: Path) -> list[tuple[str, str]]:
    """Return a page's blocks of code, each with its language."""
    return re.findall(r"^```(\w+)$\n(.*?)^```$", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)


def tables(page: Path) -> dict[str, dict[str, str]]:
    """Return the first two cells of each row of a page's tables, by section; `section.key` belongs to its section."""
    found: dict[str, dict[str, str]] = {}
    for part in re.split(r"^##? ", page.read_text(encoding="utf-8"), flags=re.MULTILINE):
        title = re.findall(r"`\[?(\w+)\]?`", part.partition("\n")[0])
        for key, cell in re.findall(r"^\| `([\w.]+)` \| (.*?) \|", part, flags=re.MULTILINE):
            section, _, name = key.rpartition(".")
            found.setdefault(section or title[0], {})[name] = cell
    return found


DEFAULTS = {"wide": "Wide()", "experts": "[]"}


def shown(value: Any) -> str:
    """Return a default as the page writes it."""
    if value is None or value in (MISSING, msgspec.NODEFAULT):
        return NONE
    return f"`{value:.10g}`" if isinstance(value, float) else f"`{json.dumps(value)}`"


def test_every_setting_is_documented_with_its_default_and_no_other() -> None:
    documented = tables(DOCS / "settings.md")
    for section, kind in SECTIONS.items():
        expected = {field.name: shown(field.default) for field in msgspec.structs.fields(kind)}
        assert documented.pop(section) == expected, section
    for python in (Canary, Feed, GuardRails, Online, Private, Promotion, Trust):
        assert documented.pop(python.__name__) == {one.name: shown(one.default) for one in fields(python)}
    assert list(documented["Pipeline"]) == [field.name for field in fields(Pipeline)]
    simple = {one.name: shown(one.default) for one in fields(Pipeline) if isinstance(one.default, int | None)}
    made = replace(small.pipeline, recipe=RECIPE)
    simple |= {"recipe": f"`{made.recipe}`", "task": "`Binary()`", "online": "`Online()`", "promotion": "`Promotion()`"}
    assert {name: cell for name, cell in documented.pop("Pipeline").items() if name in simple} == simple
    for task in (Classes, MultiLabel, Regression, Quantile, Bandit, Ranking, NextToken, SequenceScore):
        expected = {one.name: shown(one.default) for one in fields(task)}
        assert documented.pop(task.__name__) == expected | ({"scale": "fitted"} if issubclass(task, Number) else {})
    assert documented.pop("Live") == {one.name: f"`{DEFAULTS[one.name]}`" for one in fields(Live)}
    assert documented.pop("Wide") == {one.name: shown(one.default) for one in fields(Wide)}
    assert not documented


def test_every_field_of_a_prediction_is_documented() -> None:
    page = (DOCS / "topics.md").read_text(encoding="utf-8")
    table = re.findall(r"^\| `(\w+)` \| [\w ]+ \|", page.partition("NAME.outcomes")[0], flags=re.MULTILINE)
    tasks: tuple[Answering, ...] = (
        Binary(), Classes(2), MultiLabel(2), Regression(), Bandit(2), Ranking(2), NextToken(2), SequenceScore(2),
    )  # fmt: skip
    named = {name for task in tasks for name in task.answers(torch.zeros(1, 2))[0]}
    assert set(table) == {*Prediction.__struct_fields__, *named}
    example = json.loads(page.partition('\n    {"id"')[2].partition("}\n\n")[0].join(('{"id"', "}")))
    assert example["probability"] == Binary().answers(torch.tensor([[0.4054 - 0.0123]]))[0]["probability"]


def test_every_command_is_documented() -> None:
    page = (DOCS / "operating.md").read_text(encoding="utf-8")
    for name in get_command(app).list_commands(None):  # type: ignore[attr-defined]
        assert re.search(rf"`(shadowstream )?{name}\b", page), name


def test_every_exit_code_is_documented() -> None:
    codes, classes = set(), [ShadowstreamError]
    while classes:
        one = classes.pop()
        codes.add(str(one.exit_code))
        classes += one.__subclasses__()
    documented = re.findall(r"^\| (\d+) \|", (DOCS / "failures.md").read_text(encoding="utf-8"), flags=re.MULTILINE)
    assert set(documented) == codes | {"0", "130"}


def test_the_documented_rights_are_those_that_are_needed() -> None:
    assert rule("shadowstream", cluster=False) in " ".join((DOCS / "operating.md").read_text(encoding="utf-8").split())


@pytest.mark.parametrize("page", PAGES, ids=id_of)
def test_every_link_to_a_file_or_heading_leads_there(page: Path) -> None:
    for link in re.findall(r"\]\(([^)\s]+)\)", without_code(page)):
        if re.match(r"\w+:", link):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link


@pytest.mark.parametrize("page", TODAY, ids=id_of)
def test_every_file_and_folder_that_is_named_exists(page: Path) -> None:
    for name in re.findall(r"`([\w./-]+)`", without_code(page)):
        if name.startswith(tuple(f"{folder}/" for folder in FOLDERS)):
            assert (ROOT / name).exists(), name


@pytest.mark.parametrize("page", PAGES, ids=id_of)
def test_every_example_is_accepted(page: Path, tmp_path: Path) -> None:
    for language, code in blocks(page):
        if language == "toml":
            (tmp_path / "shadowstream.toml").write_text(code)
            config.load(tmp_path / "shadowstream.toml", {})
        else:
            compile(code, id_of(page), "exec")


def test_the_files_of_the_first_feed_load(tmp_path: Path) -> None:
    python = [code for language, code in blocks(DOCS / "first-feed.md") if language == "python"]
    file = tmp_path / "feed.py"
    for code in python:
        if "Feed(" in code:
            file.write_text(code)
            assert feed.load(file).name == "offers"
        elif "Pipeline(" in code:
            file.write_text(code)
            loaded = pipeline.load(file)
            assert loaded.model()(*loaded.encode([loaded.features(31.0, 4.0)])).shape == (1, 1)
    assert len(python) == 4


def test_every_page_is_in_the_index() -> None:
    linked = set(re.findall(r"\]\((\w[\w-]*\.md)\)", (DOCS / "index.md").read_text(encoding="utf-8")))
    assert linked == {page.name for page in DOCS.glob("*.md")} - {"index.md"}


def test_the_readme_is_a_front_page() -> None:
    assert len(README.read_text(encoding="utf-8").splitlines()) <= 130
