"""A pipeline that changes between two starts: what a start would do, and what the roles then do, in one process."""

import json
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import Any

import msgspec
import pytest
import torch
from msgspec import Raw
from msgspec.structs import replace as changed
from torch import Tensor, nn

from compressors.artifact import format as artifact
from compressors.recipe import Recipe
from deploy.changes.plan import Plan, describe, plan
from deploy.learning.bootstrap import bootstrap
from deploy.learning.candidates import make_learner
from deploy.learning.distiller import DistillerRole
from deploy.learning.learner import LearnerRole
from deploy.learning.rules import CommitRules
from deploy.pipeline import Labelled, Pipeline
from deploy.promotion.conductor import ConductorRole
from deploy.promotion.evaluator import EvaluatorRole
from deploy.registry.kinds import CANDIDATES, CHAMPIONS, COMMITS, PIPELINES
from deploy.registry.opening import open_registry
from deploy.registry.rebuild import check
from deploy.registry.registry import Registry
from learners.evaluation.verdict import Kind
from learners.live.settings import Live, Wide
from learners.online.settings import Online
from streams.errors import ConfigError
from streams.events import Sample
from streams.join.policy import JoinPolicy
from streams.join.store import Store
from tests import small
from tests.integration.roles.test_roles import emit

NUMBERS = count()
JOIN = JoinPolicy()


class Place(msgspec.Struct):
    a: float
    b: float
    c: float
    d: float


class Renamed(msgspec.Struct):
    first: float
    b: float
    c: float
    d: float


class More(Place):
    country: str


class MoreByDefault(Place):
    country: str = ""


def encode(rows: Any) -> tuple[Tensor, ...]:
    return (torch.tensor([[row.a, row.b, row.c, row.d] for row in rows], dtype=torch.float32),)


def stacked(rows: Any) -> tuple[Tensor, ...]:
    return (torch.stack([torch.tensor([row.a, row.b, row.c, row.d], dtype=torch.float32) for row in rows]),)


def renamed(rows: Any) -> tuple[Tensor, ...]:
    return (torch.tensor([[row.first, row.b, row.c, row.d] for row in rows], dtype=torch.float32),)


def ten_times(rows: Any) -> tuple[Tensor, ...]:
    return tuple(10 * one for one in encode(rows))


def history() -> Iterator[Labelled]:
    for row in small.history():
        yield row._replace(features=Place(*row.features.x))


def wide() -> nn.Module:
    return nn.Sequential(nn.Linear(4, 32), nn.ReLU(), nn.Linear(32, 1))


def curved() -> nn.Module:
    return nn.Sequential(nn.Linear(4, 16), nn.Tanh(), nn.Linear(16, 1))


def migrate(row: Any) -> Any:
    return row if "first" in row else row | {"first": row.pop("a")}


class Feed:
    """A feed whose answers are those of its champion, and its roles, made anew for each part of it."""

    def __init__(self, store: Store, folder: Path) -> None:
        name = f"changes-{next(NUMBERS)}"
        self.pipeline = replace(
            small.pipeline, name=name, features=Place, encode=encode, history=history, live=Live(), feed=None
        )
        self.store, self.registry, self.offset = store, open_registry(folder), 0
        store.create(self.pipeline.name, 1, [("p", 0), ("o", 0)])
        bootstrap(self.pipeline, self.registry)
        describe(self.pipeline, JOIN, self.registry)
        self.go(self.pipeline, 120)

    def plan(self, **more: Any) -> Plan:
        return plan(replace(self.pipeline, **more), JOIN, self.registry)

    def go(self, pipeline: Pipeline, samples: int) -> None:
        """Learn so many samples, a day's at a time, each an hour after the last one."""
        rules = CommitRules(24, 1e9, every_days=3)
        roles = (
            LearnerRole(pipeline.name, 1, self.store, self.registry, make_learner(pipeline, self.registry), rules),
            DistillerRole(pipeline, self.store, self.registry),
            EvaluatorRole(pipeline, small.timing(2), self.store, self.registry),
            ConductorRole(pipeline.name, self.store, self.registry),
        )
        for start in range(self.offset, self.offset + samples, 24):
            self.offset = emit(self.store, pipeline.name, answered(self.registry, start), self.offset)
            for role in roles:
                while role.step(1):
                    pass


def answered(registry: Registry, start: int) -> list[Sample]:
    """Return a day's samples, as the version that serves answers them."""
    champion = registry.record(CHAMPIONS, registry.last(CHAMPIONS))
    assert champion is not None
    model = artifact.load(registry.get(champion.artifact), small.net).eval()
    found = small.samples(24, seed=start, start=start)
    rows = [Place(*msgspec.json.decode(one.prediction.features, type=small.Point).x) for one in found]
    with torch.no_grad():
        said = model(*encode(rows)) + torch.tensor(champion.offset)
    return [
        _answered(one, row, champion.number, output)
        for one, row, output in zip(found, rows, said.tolist(), strict=True)
    ]


def _answered(one: Sample, row: Place, version: int, output: list[float]) -> Sample:
    features = Raw(msgspec.json.encode(row))
    return changed(one, prediction=changed(one.prediction, version=version, output=tuple(output), features=features))


@pytest.fixture(scope="module")
def kept(embedded_store_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Feed]:
    """A feed that no test changes."""
    with closing(Store(embedded_store_url)) as store:
        yield Feed(store, tmp_path_factory.mktemp("kept") / "feed")


@pytest.fixture
def feed(embedded_store: Store, tmp_path: Path) -> Feed:
    return Feed(embedded_store, tmp_path / "feed")


def test_a_pipeline_that_is_the_same_goes_on_without_a_word(kept: Feed) -> None:
    found = kept.plan()
    assert (found.changes, found.refused, found.lines) == ((), None, [])
    assert found.answered > 50
    describe(kept.pipeline, JOIN, kept.registry)
    assert kept.registry.last(PIPELINES) == 0


GOES_ON: list[tuple[dict[str, Any], str]] = [
    ({"online": Online(history_passes=5, replay=500, half_life=500.0)}, "changed: online, half_life: 30000 -> 500"),
    ({"encode": stacked}, "changed: encode: another one than before"),
    ({"seed": 5}, "changed: seed: 0 -> 5"),
]


@pytest.mark.parametrize(("more", "line"), GOES_ON)
def test_what_is_harmless_is_said_and_goes_on(feed: Feed, more: dict[str, Any], line: str) -> None:
    found = feed.plan(**more)
    assert found.refused is None
    assert found.lines[0].startswith(line)
    assert "as it did" in found.lines[-1]
    feed.go(replace(feed.pipeline, **more), 24)
    describe(replace(feed.pipeline, **more), JOIN, feed.registry)
    assert feed.registry.last(PIPELINES) == 1
    assert feed.plan(**more).changes == ()


REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"encode": ten_times}, "encode: another one than before: another model, and what serves cannot serve on"),
    ({"model": curved}, "model, layers: another one than before: another model, and what serves cannot serve on"),
    ({"model": wide}, "model, weights: 0.weight float32 (16, 4), .* another model"),
    ({"features": More}, "features, country: (none) -> str: a row of the log cannot be read, .*migrate"),
    ({"features": Renamed, "encode": renamed}, "features, .* missing required field `first`.*migrate"),
]


@pytest.mark.parametrize(("more", "why"), REFUSED)
def test_what_cannot_go_on_is_refused_in_a_line_with_the_way_out(kept: Feed, more: dict[str, Any], why: str) -> None:
    found = kept.plan(**more, history=None)
    with pytest.raises(ConfigError, match=why.replace("(", r"\(").replace(")", r"\)")) as raised:
        found.check()
    assert "\n" not in str(raised.value)
    assert json.loads(msgspec.json.encode(found))["refused"]


AGAIN: list[dict[str, Any]] = [
    {"recipe": Recipe.parse("prune(amount=0.5) -> distill()")},
    {"live": Live(wide=Wide(bits=10))},
    {"features": MoreByDefault, "history": None},
    {"features": Renamed, "encode": renamed, "migrate": migrate, "history": None},
]


@pytest.mark.parametrize("more", AGAIN)
def test_what_was_learned_is_learned_again_where_it_does_not_fit(feed: Feed, more: dict[str, Any]) -> None:
    other = replace(feed.pipeline, **more)
    found = feed.plan(**more)
    assert (found.refused, found.again) == (None, True)
    describe(other, JOIN, feed.registry, again=found.again)
    before = feed.registry.last(COMMITS)
    feed.go(other, 24)
    first = feed.registry.record(COMMITS, before + 1)
    assert first is not None
    assert (first.due and first.due.reason, first.samples, first.learned) == ("pipeline", [], 120)
    rebuilt = check(make_learner(other, feed.registry), feed.registry)
    assert (rebuilt.first, rebuilt.equal) == (0, True)
    assert plan(other, JOIN, feed.registry).changes == ()


def test_another_recipe_s_candidate_has_to_pass_as_another(feed: Feed) -> None:
    before = [one.kind for one in feed.registry.records(CANDIDATES)]
    other = replace(feed.pipeline, recipe=Recipe.parse("prune(amount=0.5) -> distill()"))
    describe(other, JOIN, feed.registry, again=feed.plan(recipe=other.recipe).again)
    feed.go(other, 96)
    made = list(feed.registry.records(CANDIDATES))[len(before) :]
    assert set(before) == {Kind.REFRESH}
    assert [one.kind for one in made] == [Kind.OTHER] * len(made) != []
    described = artifact.describe(feed.registry.get(made[-1].artifact))
    assert Recipe.from_dict(described.manifest["recipe"]) == other.recipe
    assert described.sparsity == pytest.approx(0.5, abs=0.05)
