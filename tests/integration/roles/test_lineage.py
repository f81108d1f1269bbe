"""A pipeline whose model is another than before: it learns the log, and takes over once it has proven better."""

import sys
from itertools import count
from pathlib import Path

import msgspec
import pytest
import torch
from msgspec import Raw
from msgspec.structs import replace as changed

from compressors.answers import answers
from deploy import pipeline as pipelines
from deploy.changes.plan import Plan, describe, plan
from deploy.learning.bootstrap import bootstrap
from deploy.learning.candidates import make_learner
from deploy.learning.distiller import DistillerRole
from deploy.learning.learner import LearnerRole
from deploy.learning.rules import CommitRules
from deploy.lineages import Lineages
from deploy.pipeline import Pipeline
from deploy.promotion.conductor import ConductorRole
from deploy.promotion.evaluator import EvaluatorRole
from deploy.registry.kinds import CANDIDATES, CHAMPIONS, PIPELINES, VERDICTS
from deploy.registry.opening import open_registry
from deploy.registry.rebuild import check
from deploy.serving.champion import Served
from learners.evaluation.verdict import Decision, Kind
from streams.errors import ConfigError
from streams.events import Sample
from streams.join.policy import JoinPolicy
from streams.join.store import Store
from tests import small
from tests.integration.roles.test_roles import emit

JOIN = JoinPolicy()
NUMBERS = count()
FILE = """
import msgspec, torch
from nets import net
from shadowstream import Intercept, Online, Pipeline, Promotion

class Row(msgspec.Struct):
    a: float
    b: float
    c: float
    d: float

def encode(rows):
    return (torch.tensor([[row.c, row.d] for row in rows], dtype=torch.float32),)

pipeline = Pipeline(
    name="{name}", features=Row, encode=encode, model=net, live=Intercept(), promotion=Promotion(every_days=1000),
    online=Online(learning_rate=0.01, replay=500, half_life=300), recipe="prune(amount=0.2) -> distill()",
)
"""
NETS = """
from torch import nn

def net():
    return nn.Sequential(nn.Linear(2, 8), nn.ReLU(), nn.Linear(8, 1))
"""
SEES_MORE = [
    ("[row.c, row.d]", "[row.a, row.b, row.c, row.d]"),
    ("nn.Linear(2, 8)", "nn.Linear(4, 16)"),
    ("nn.Linear(8, 1)", "nn.Linear(16, 1)"),
]


class Feed:
    """A feed of a pipeline.py and a module beside it, whose answers are those of its champion."""

    def __init__(self, store: Store, folder: Path) -> None:
        self.folder, self.store, self.offset = folder, store, 0
        self.name = f"lineage-{next(NUMBERS)}"
        (folder / "pipeline.py").write_text(FILE.format(name=self.name))
        (folder / "nets.py").write_text(NETS)
        self.registry, self.pipeline = open_registry(folder / "registry"), self.load()
        store.create(self.name, 1, [("p", 0), ("o", 0)])
        bootstrap(self.pipeline, self.registry)
        describe(self.pipeline, JOIN, self.registry, path=self.path)

    @property
    def path(self) -> Path:
        return self.folder / "pipeline.py"

    def load(self) -> Pipeline:
        return pipelines.load(self.path)

    def change(self, *pairs: tuple[str, str]) -> Plan:
        """Change the files as a user would, and start again."""
        for name in ("pipeline.py", "nets.py"):
            text = (self.folder / name).read_text()
            for old, new in pairs:
                text = text.replace(old, new)
            (self.folder / name).write_text(text)
        forget_modules()
        self.pipeline = self.load()
        return plan(self.pipeline, JOIN, self.registry)

    def start(self, found: Plan) -> None:
        found.check()
        describe(self.pipeline, JOIN, self.registry, path=self.path, again=found.again, lineage=found.lineage)

    def go(self, days: int) -> None:
        """Learn so many days."""
        pipeline = self.pipeline
        rules = CommitRules(24, 1e9, every_days=1_000)
        roles = (
            LearnerRole(self.name, 1, self.store, self.registry, make_learner(pipeline, self.registry), rules),
            DistillerRole(pipeline, self.store, self.registry),
            EvaluatorRole(pipeline, small.timing(2), self.store, self.registry),
            ConductorRole(self.name, self.store, self.registry),
        )
        for _ in range(days):
            self.offset = emit(self.store, self.name, self.answered(), self.offset)
            for role in roles:
                while role.step(1):
                    pass

    def answered(self) -> list[Sample]:
        """Return a day's samples, as the version that serves answers them."""
        champion = self.registry.record(CHAMPIONS, self.registry.last(CHAMPIONS))
        assert champion is not None
        lineages = Lineages(self.pipeline, self.registry)
        running, encoder = lineages.load(champion), lineages.of(champion).encoder()
        found = []
        for one in small.samples(24, seed=self.offset, start=self.offset):
            x = msgspec.json.decode(one.prediction.features, type=small.Point).x
            row = msgspec.json.encode(dict(zip("abcd", x, strict=True)))
            found.append(changed(one, prediction=changed(one.prediction, version=champion.number, features=Raw(row))))
        said = answers(running, encoder.inputs(found)).double() + torch.tensor(champion.offset)
        return [
            changed(one, prediction=changed(one.prediction, output=tuple(output)))
            for one, output in zip(found, said.tolist(), strict=True)
        ]


def forget_modules() -> None:
    """Forget what was imported of the folder, as another process would."""
    for name in [name for name in sys.modules if name == "nets" or name.startswith("pipeline_")]:
        del sys.modules[name]


@pytest.fixture
def feed(embedded_store: Store, tmp_path: Path) -> Feed:
    forget_modules()
    return Feed(embedded_store, tmp_path)


def test_a_new_lineage_learns_the_log_and_takes_over_once_it_is_proven(feed: Feed) -> None:
    feed.go(6)
    found = feed.change(*SEES_MORE)
    assert (found.refused, found.again, found.lineage) == (None, True, True)
    feed.start(found)
    before = Lineages(feed.pipeline, feed.registry)
    first = feed.registry.record(CHAMPIONS, 0)
    assert first is not None
    assert not before.today(first)
    served = Served(feed.registry, feed.pipeline.model, lineages=before)
    assert served.encoder is not None  # the old model serves on, by its own code
    feed.go(20)
    candidate, verdict = feed.registry.record(CANDIDATES, 0), feed.registry.record(VERDICTS, 0)
    champion = feed.registry.record(CHAMPIONS, 1)
    assert candidate is not None
    assert verdict is not None
    assert champion is not None
    assert (candidate.kind, candidate.pipeline, candidate.learned) == (Kind.OTHER, 1, 144)
    assert verdict.decision is Decision.PROVEN
    assert Lineages(feed.pipeline, feed.registry).today(champion)
    assert Served(feed.registry, feed.pipeline.model, lineages=Lineages(feed.pipeline, feed.registry)).encoder is None
    assert check(make_learner(feed.pipeline, feed.registry), feed.registry).equal
    assert feed.change().changes == ()


def test_a_start_that_was_ended_before_it_learned_goes_on(feed: Feed) -> None:
    feed.go(3)
    feed.start(feed.change(*SEES_MORE))
    assert feed.change().refused is None  # started again: nothing has changed since, and nothing is learned yet
    feed.go(1)
    assert feed.registry.record(CANDIDATES, 0) is not None


def test_a_model_whose_code_was_not_kept_is_refused(feed: Feed) -> None:
    feed.go(3)
    blob = feed.registry.folder / "blobs"
    described = feed.registry.record(PIPELINES, 0)
    assert described is not None
    (blob / str(described.code)).unlink()
    with pytest.raises(ConfigError, match=r"another model.*is missing.*another name"):
        feed.change(*SEES_MORE).check()
