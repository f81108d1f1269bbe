"""A candidate that is better and breaks a guard rail, by real servers, evaluator and conductor: it never serves."""

from collections.abc import Sequence
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console
from torch import nn

from deploy import config
from deploy.console.versions.lineage import show_one
from deploy.console.words import fate_of
from deploy.operate.versions.lineage import show
from deploy.registry.kinds import CANDIDATES, VERDICTS
from learners.evaluation.gate import Promotion
from learners.evaluation.guards.guard import GuardRails, Own, TrialReport
from learners.evaluation.verdict import Decision, Verdict
from tests.unit.deploy.console.views import view
from tests.unit.deploy.promotion.test_canary import PART, World, knows

MOST = 2_400  # requests, against a test that never ends
PIPELINE = """
from dataclasses import replace
from tests import small
pipeline = replace(small.pipeline, name="ads")
"""


def not_the_first(report: TrialReport) -> str | None:
    """Refuse a candidate by its number, as a person might by its answers."""
    return f"{len(report.rows):,} rows of candidate 0" if report.candidate == 0 else None


def world(folder: Path, guards: Sequence[Own] = (), rails: GuardRails | None = None) -> World:
    policy = Promotion(candidates_a_year=10, drift_a_year=0, margin=0.0, guards=guards, rails=rails or GuardRails())
    made = World(folder, policy)
    made.ask(800)
    return made


def judged(world: World, model: nn.Module) -> Verdict:
    """Return the verdict on a model that is brought as a candidate."""
    world.bring(model)
    number, asked = world.registry.last(CANDIDATES), world.asked
    while (verdict := world.registry.record(VERDICTS, number)) is None:
        assert world.asked < asked + MOST
        world.ask(PART)
    world.ask(PART)
    return verdict


def status(world: World) -> list[str]:
    """Return what `status` says of each candidate."""
    candidates = list(world.registry.records(CANDIDATES))
    verdicts = {one.candidate: one for one in world.registry.records(VERDICTS)}
    seen = view(champions=world.versions, candidates=candidates, verdicts=verdicts, trials=())
    return [fate_of(one, seen).text for one in candidates]


def test_ones_own_function_refuses_a_candidate_and_the_next_serves_with_what_it_said(tmp_path: Path) -> None:
    fed = world(tmp_path / "ads", [not_the_first])
    vetoed = judged(fed, knows(1.0))
    assert (vetoed.decision, vetoed.log_wealth >= vetoed.log_needed) == (Decision.VETOED, True)
    assert len(fed.versions) == 1
    assert {one.version for one in fed.predictions} == {0}
    assert judged(fed, knows(1.01)).decision is Decision.PROVEN
    assert [one.candidate for one in fed.versions] == [None, 1]
    refused, served = status(fed)
    assert refused.startswith("vetoed: not_the_first: ")
    assert refused.endswith(" rows of candidate 0")
    assert served == "became v1"
    (tmp_path / "ads.py").write_text(PIPELINE)
    settings = config.Settings(registry=config.Registry(path=str(tmp_path)))
    printed = StringIO()
    show_one(Console(width=200, file=printed), show(tmp_path / "ads.py", settings, 1))
    assert "guard rail not_the_first: " in printed.getvalue()


def test_what_is_too_slow_or_answers_no_numbers_never_serves(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("learners.evaluation.guards.latency.LITTLE_S", 0.0)  # four weights take less than that
    slow = world(tmp_path / "slow", rails=GuardRails(latency=1e-6))
    assert judged(slow, knows(1.0)).decision is Decision.VETOED
    assert "times as long as the champion" in status(slow)[0]
    broken = world(tmp_path / "broken")
    assert judged(broken, knows(1e38)).decision is Decision.VETOED
    assert "not finite" in status(broken)[0]
    assert [len(one.versions) for one in (slow, broken)] == [1, 1]
    assert {one.version for fed in (slow, broken) for one in fed.predictions} == {0}
