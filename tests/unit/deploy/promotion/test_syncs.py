"""The shadow's average between two promotions, by real servers, evaluator and conductor: served, and taken back."""

from dataclasses import replace
from pathlib import Path
from typing import cast

import pytest
from msgspec import structs
from torch import nn

from deploy.backtest.again import Again
from deploy.operate.versions.backtest import compared
from deploy.operate.versions.orders import give
from deploy.pipeline import Pipeline
from deploy.promotion.conductor import ConductorRole
from deploy.registry.kinds import ALARMS, CHAMPIONS, COMMITS, VERDICTS
from deploy.registry.notes import BrokenNote, SyncNote
from deploy.registry.records import Champion
from deploy.registry.reigns import gated, versions
from learners.evaluation.gate import Promotion
from learners.evaluation.verdict import Decision, Guard
from shadowstream import ConfigError
from streams.join.store import Store
from tests import small
from tests.unit.deploy.console.views import verdict
from tests.unit.deploy.promotion.test_canary import PART, Board, World, knows, without_clock

POLICY = Promotion(policy="continuous", candidates_a_year=10, drift_a_year=0, margin=0.0)


class Synced(World):
    """A feed under `continuous`; a learner offers what a test gives it."""

    def __init__(self, folder: Path, policy: Promotion = POLICY) -> None:
        self.note: SyncNote | None = None
        self.seen: BrokenNote | None = None
        super().__init__(folder, policy)

    def begin(self, pipeline: Pipeline | None = None) -> None:
        super().begin(pipeline)
        self.conductor = ConductorRole(
            self.pipeline.name, cast(Store, Board()), self.registry, self.pipeline.promotion, lambda: self.seen,
            lambda: self.note,
        )  # fmt: skip

    def offer(self, model: nn.Module, of: int | None = None) -> SyncNote:
        """Offer a model as the average after the newest commit, by default in the place of what was tested last."""
        self.note = SyncNote(
            commit=self.registry.last(COMMITS), of=gated(versions(self.registry)).number if of is None else of,
            artifact=self.put(model), offset=(0.0,), engine="a test", guards=(),
        )  # fmt: skip
        return self.note

    def sync(self, model: nn.Module, requests: int) -> None:
        """Offer a model after each part of so many requests, as little apart from the one before as averages are."""
        for _ in range(requests // PART):
            model.get_parameter("bias").data += 1e-5
            self.offer(model)
            self.ask(PART)

    @property
    def reigns(self) -> list[tuple[int | None, int | None]]:
        """Of the versions, where syncs in a row are one: of which one it is a sync, and which one it is again."""
        return [(one.sync_of, one.back_to) for one in versions(self.registry)]


@pytest.fixture
def world(tmp_path: Path) -> Synced:
    world = Synced(tmp_path / "ads")
    world.ask(800)
    return world


def test_each_average_serves_at_once_until_one_is_promoted_whose_place_the_next_take(world: Synced) -> None:
    world.sync(knows(0.3), 6 * PART)
    assert [one.sync_of for one in world.versions] == [None, *[0] * 6]
    assert world.reigns == [(None, None), (0, None)]
    answered = {one.version for one in world.predictions}
    assert answered == set(range(6))  # each answers what comes next
    newest = world.versions[-1]
    assert (newest.commit, newest.candidate, newest.by) == (world.registry.last(COMMITS) - 1, None, "")
    world.bring(knows(1.0))
    world.sync(knows(1.0), 2_400)
    assert world.reigns == [(None, None), (0, None), (None, None), (world.versions[-1].sync_of, None)]
    verdict = world.registry.record(VERDICTS, 0)
    assert verdict is not None
    assert [one.champion for one in verdict.against] == [0]  # it was tested against what was tested, not against syncs
    assert gated(world.versions).candidate == 0
    began = [one.at_ms for one in world.versions]
    assert began == sorted(began)  # though what was promoted had been proven before the sync that it replaced
    assert world.registry.last(ALARMS) == -1


def test_versions_are_in_the_order_of_event_time_though_a_verdict_is_of_before_the_sync_that_it_replaces(
    world: Synced,
) -> None:
    """`find TIME` bisects them."""
    world.sync(knows(0.3), 4 * PART)
    world.bring(knows(1.0))
    proven = structs.replace(verdict(0, Decision.PROVEN), commit=world.registry.last(COMMITS), at_ms=1)
    assert world.registry.create(VERDICTS, 0, proven)
    world.conductor.step(0)
    assert (world.versions[-1].candidate, world.versions[-2].sync_of) == (0, 0)
    assert world.versions[-1].at_ms == world.versions[-2].at_ms > 1


def test_backtest_decides_the_same_of_candidates_though_other_answers_were_served(world: Synced) -> None:
    world.sync(knows(0.3), 4 * PART)
    world.bring(knows(1.0))
    world.sync(knows(1.0), 2_400)
    recorded = world.registry.record(VERDICTS, 0)
    again = Again(world.pipeline, POLICY, small.timing(2), world.registry, world.versions, engines=False)
    for commit in world.registry.records(COMMITS):
        again.take(commit, commit.entries())
    (decided,) = again.verdicts.values()
    assert without_clock(decided) != without_clock(recorded)
    last, other = world.registry.last(COMMITS), structs.replace(decided, decision=Decision.FUTILE)
    assert compared([decided], last, world.registry, set(), synced=True) == (1, [])
    assert compared([other], last, world.registry, set(), synced=True) == (0, [0])


def test_one_that_is_worse_is_taken_back_and_no_other_serves_until_the_next_promotion(world: Synced) -> None:
    world.sync(knows(0.3), 8 * PART)
    asked, bad = world.asked, knows(-1.0)  # as its weights would be that were mixed up
    while world.reigns[-1] != (None, 0):
        assert world.asked < asked + 1_200
        world.sync(bad, PART)
    (alarm,) = world.registry.records(ALARMS)
    back = world.versions[-1]
    assert (back.artifact, back.because, back.by) == (world.versions[0].artifact, str(alarm), "shadowstream")
    assert (alarm.back_to, alarm.old, alarm.kind) == (0, False, "rollback")
    newest = back.number
    world.sync(bad, 400)
    world.sync(knows(0.9), 400)
    assert world.registry.last(CHAMPIONS) == newest
    assert {one.version for one in world.predictions[-PART:]} == {newest}
    world.bring(knows(1.0))
    while world.registry.last(VERDICTS) < 0:
        world.ask(PART)
    world.sync(knows(1.0), 2 * PART)
    assert world.reigns[-2:] == [(None, None), (newest + 1, None)]
    assert list(world.registry.records(ALARMS)) == [alarm]


def test_a_sync_goes_back_in_a_pause_and_does_not_count_as_a_promotion_that_failed(world: Synced) -> None:
    """Two promotions that go back within a month have everything wait for a person: syncs were never promoted."""
    world.sync(knows(0.3), 4 * PART)
    for n in range(2):
        bad = world.offer(knows(-1.0 - n))
        world.ask(PART)
        give(world.registry, "pause", "a campaign", "eva")
        guard = Guard("finite", 9.0, 7.0, False, "9 of the newest 256 requests get no finite answer")
        world.seen = BrokenNote(world.registry.last(CHAMPIONS), bad.artifact, gated(world.versions).number, 256, guard)
        world.ask(PART)
        assert world.reigns[-1][1] is not None
        give(world.registry, "resume", "it is over", "eva")
        world.seen = None
        give(world.registry, "promote", "again", "eva", version=0) if n else world.bring(knows(1.0))
        while n == 0 and world.registry.last(VERDICTS) < 0:
            world.ask(PART)
        world.ask(PART)
    assert world.conductor._rules.waits(versions(world.registry)) == ""
    assert [one.kind for one in world.registry.records(ALARMS)] == ["guard", "guard"]


def test_nothing_serves_that_is_late_of_another_version_or_waited_for(world: Synced) -> None:
    older = world.offer(knows(0.3))
    world.ask(PART)
    world.offer(knows(0.31))
    world.ask(PART)
    assert world.registry.last(CHAMPIONS) == 2
    world.note = older
    world.begin()
    world.ask(PART)
    world.offer(knows(0.3), of=7)
    world.ask(PART)
    give(world.registry, "pause", "a campaign", "eva")
    world.offer(knows(0.3))
    world.ask(PART)
    assert world.registry.last(CHAMPIONS) == 2
    give(world.registry, "resume", "it is over", "eva")
    world.offer(knows(0.3))
    world.ask(PART)
    assert world.registry.last(CHAMPIONS) == 3


def test_a_person_goes_back_from_syncs_and_promotes_none(world: Synced) -> None:
    world.sync(knows(0.3), 3 * PART)
    with pytest.raises(ConfigError, match="version 2 is a sync, which serves in the place of version 0: name that"):
        give(world.registry, "promote", "I liked it", "eva", version=2)
    give(world.registry, "rollback", "no", "eva")
    world.sync(knows(0.3), 3 * PART)
    assert world.reigns == [(None, None), (0, None), (None, 0)]
    give(world.registry, "promote", "go on", "eva", version=0)
    world.sync(knows(0.3), 3 * PART)
    assert world.reigns[3:] == [(None, None), (5, None)]


def serves(one: Champion) -> tuple[object, ...]:
    """Return what a version's record says but for its evidence, which has times by the clock."""
    return one.artifact, one.offset, one.commit, one.at_ms, one.sync_of, one.back_to, one.because


def test_roles_that_begin_anew_at_any_time_come_to_the_same(tmp_path: Path) -> None:
    whole, broken = Synced(tmp_path / "a" / "ads"), Synced(tmp_path / "b" / "ads")
    for world, restarts in ((whole, False), (broken, True)):
        world.ask(400)
        world.bring(knows(1.0))
        for n in range(16):
            world.sync(knows(0.3 if n < 12 else -1.0), 2 * PART)
            if restarts:
                world.evaluator.keep()
                world.begin()
                world.work()
    assert [serves(one) for one in broken.versions] == [serves(one) for one in whole.versions]
    assert list(broken.registry.records(ALARMS)) == list(whole.registry.records(ALARMS)) != []


def test_under_another_policy_what_is_offered_does_not_serve(tmp_path: Path) -> None:
    world = Synced(tmp_path / "ads", replace(POLICY, policy="automatic"))
    world.sync(knows(0.3), 2 * PART)
    assert world.registry.last(CHAMPIONS) == 0
