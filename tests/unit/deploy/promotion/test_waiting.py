"""What is proven and waits for a person does not serve: trials and the way back are against what does."""

from dataclasses import replace
from pathlib import Path

import pytest

from deploy.backtest.again import Again
from deploy.operate.versions.orders import give
from deploy.registry.kinds import COMMITS, VERDICTS
from deploy.registry.records import Evidence
from learners.evaluation.gate import Promotion
from learners.evaluation.verdict import Decision, Verdict
from tests import small
from tests.unit.deploy.promotion.test_canary import POLICY, World, knows, without_clock

AUTOMATIC = replace(POLICY, policy="automatic")
APPROVAL = replace(POLICY, policy="approval")
WHY = {"approval": "Promotion(policy='approval')", "pause": "paused"}


def proven(world: World, share: float) -> Verdict:
    """Bring a candidate that knows so large a share of the truth, and return its verdict."""
    number = len(list(world.registry.records(VERDICTS)))
    world.bring(knows(share))
    for _ in range(60):
        world.ask(100)
        if (verdict := world.registry.record(VERDICTS, number)) is not None:
            assert verdict.decision is Decision.PROVEN
            return verdict
    pytest.fail("it was not decided")


@pytest.mark.parametrize("held", ["approval", "pause"])
@pytest.mark.parametrize("restarts", [False, True])
def test_trials_are_against_what_serves_and_not_against_what_waits(held: str, restarts: bool, tmp_path: Path) -> None:
    policy: Promotion = APPROVAL if held == "approval" else AUTOMATIC
    world = World(tmp_path / "ads", policy)
    world.ask(800)
    if held == "pause":
        give(world.registry, "pause", "a campaign", "eva")
    first = proven(world, 1.0)
    if restarts:
        world.begin()
        world.work()
    second = proven(world, 0.8)  # worse than the first one, and better than what serves
    assert [verdict.waits for verdict in (first, second)] == [WHY[held]] * 2
    assert [[one.champion for one in verdict.against] for verdict in (first, second)] == [[0], [0]]
    assert len(world.versions) == 1
    assert {one.version for one in world.predictions} == {0}
    give(world.registry, "promote", "it is the better one", "eva", candidate=0)
    world.ask(100)
    assert [(one.candidate, one.by) for one in world.versions] == [(None, ""), (0, "eva")]
    assert world.versions[1].offset == first.offset
    assert isinstance(world.versions[1].evidence, Evidence)
    if held == "pause":
        give(world.registry, "resume", "it is over", "eva")
        world.begin()
        world.work()
        assert len(world.versions) == 2  # what waited is not done later, by a conductor that begins anew either


def test_by_approval_backtest_decides_as_the_run_did(tmp_path: Path) -> None:
    world = World(tmp_path / "ads", APPROVAL)
    world.ask(800)
    recorded = [proven(world, 1.0), proven(world, 0.8)]
    again = Again(world.pipeline, APPROVAL, small.timing(2), world.registry, world.versions, engines=False)
    for commit in world.registry.records(COMMITS):
        again.take(commit, commit.entries())
    assert [without_clock(again.verdicts[n]) for n in range(2)] == [without_clock(one) for one in recorded]
