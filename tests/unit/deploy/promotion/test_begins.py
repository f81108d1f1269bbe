"""An evaluator without a summary where old samples were let go begins with what served there, and comes to the same.

Whatever served when the log begins: a version, its syncs, a canary, or one that came back.
"""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest

from deploy.backtest.again import Again
from deploy.operate.versions.orders import give
from deploy.promotion.evaluator import EvaluatorRole
from deploy.registry.gc.letting import let_go
from deploy.registry.kinds import ALARMS, BASES, CANDIDATES, CHAMPIONS, COMMITS, STEPS, VERDICTS, Kind
from deploy.registry.log.sealer import Sealer
from deploy.registry.records import Base
from deploy.registry.reigns import gated
from learners.evaluation.canary import ALL
from streams.join.store import Store
from tests import small
from tests.unit.deploy.promotion.test_canary import PART, POLICY, Board, World, knows
from tests.unit.deploy.promotion.test_syncs import POLICY as CONTINUOUS
from tests.unit.deploy.promotion.test_syncs import Synced

COUNTED: tuple[Kind[Any], ...] = (CANDIDATES, VERDICTS, CHAMPIONS, STEPS, ALARMS)


def synced(folder: Path) -> World:
    world = Synced(folder, CONTINUOUS)
    world.ask(800)
    world.sync(knows(0.3), 6 * PART)
    world.bring(knows(1.0))
    while gated(world.versions).candidate is None:
        world.sync(knows(0.3), PART)
    world.sync(knows(1.0), 6 * PART)
    return world


def canaries(folder: Path) -> World:
    world = World(folder)
    world.ask(800)
    world.bring(knows(1.0))
    while world.versions[-1].share < ALL or len(world.versions) < 3:
        world.ask(PART)
    world.ask(4 * PART)
    return world


def returned(folder: Path) -> World:
    world = World(folder, replace(POLICY, policy="automatic"))
    world.ask(800)
    world.bring(knows(1.0))
    while len(world.versions) < 2:
        world.ask(PART)
    give(world.registry, "rollback", "a look", "eva")
    world.ask(6 * PART)
    return world


def begin(world: World, number: int) -> None:
    """Let go of all commits before one."""
    registry, sealer = world.registry, Sealer(world.registry.objects, commits=1)
    while sealer.step():
        pass
    counts = dict[int, int]()
    at = Base(
        number=number, chain="", state="", states=0, rounds=0, samples=0, learned=counts, held=counts,
        quarantined=counts, until_ms=0,
    )  # fmt: skip
    assert registry.create(BASES, number, at)
    let_go(registry.objects)


def anew(world: World) -> EvaluatorRole:
    """Return an evaluator that has begun anew, without a summary, and taken all there is."""
    world.evaluator = EvaluatorRole(
        world.pipeline, small.timing(2), cast(Store, Board()), world.registry, engines=False, summaries=False
    )
    while world.evaluator.step(0):
        pass
    return world.evaluator


def told(evaluator: EvaluatorRole) -> tuple[object, ...]:
    of = evaluator._evaluator
    champion, watch = of.trials.champion, of.watch
    return (
        evaluator._version, evaluator._verdicts, champion.version, champion.key, len(of.trials.all), watch.champion,
        watch.version, watch.synced, sorted(of._barred),
    )  # fmt: skip


def again(world: World) -> tuple[list[tuple[str, float]], list[tuple[str, float]]]:
    """Decide again from where the log begins, by what was decided by then; return versions and those of the record."""
    registry, recorded, policy = world.registry, world.versions, world.pipeline.promotion
    decided = Again(world.pipeline, policy, small.timing(2), registry, recorded, engines=False)
    for commit in registry.records(COMMITS):
        decided.take(commit, commit.entries())
    tested = [(one.artifact, one.share) for one in recorded if one.sync_of is None]
    return [(one.artifact, one.share) for one in decided.versions], tested


@pytest.mark.parametrize("made", [synced, canaries, returned])
def test_it_goes_on_with_what_served_there(made: Callable[[Path], World], tmp_path: Path) -> None:
    world = made(tmp_path / "ads")
    registry, whole = world.registry, told(anew(world))
    counts = [registry.last(kind) for kind in COUNTED]
    last = registry.last(COMMITS)
    for number in (1, last // 2, last - 4):
        begin(world, number)
        if number in (1, last - 4) and made is not returned:  # nobody gives an order again
            found, tested = again(world)
            assert found == tested[: len(found)], number
            assert number > 1 or found == tested  # later, a canary's step that begins anew ends after the log
        assert told(anew(world)) == whole, number
        assert [registry.last(kind) for kind in COUNTED] == counts, number
    world.ask(4 * PART)
    assert [registry.last(kind) for kind in COUNTED] == counts
