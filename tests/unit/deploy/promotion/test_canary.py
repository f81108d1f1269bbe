"""A canary from its proof to its end, by real servers, evaluator and conductor: the registry says how far it is."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import msgspec
import numpy as np
import pytest
import torch
from msgspec import Raw
from torch import nn

from compressors.artifact import format as artifact
from compressors.form import training_form
from compressors.recipe import Recipe
from deploy.backtest.again import Again
from deploy.operate.versions.orders import give
from deploy.pipeline import Pipeline
from deploy.promotion.conductor import ConductorRole
from deploy.promotion.evaluator import EvaluatorRole
from deploy.registry.kinds import ALARMS, CANDIDATES, CHAMPIONS, COMMITS, STEPS, VERDICTS
from deploy.registry.opening import open_registry
from deploy.registry.records import Candidate, Champion, Figures
from deploy.serving.champion import Served
from learners.commits.commit import Commit, Run
from learners.evaluation.canary import Canary, chosen
from learners.evaluation.gate import Promotion
from learners.evaluation.guards.guard import TrialReport
from learners.evaluation.verdict import Kind
from streams.events import Prediction, Sample
from streams.join.store import Store
from tests import small
from tests.committed import append
from tests.learned import until

DAY_MS, A_DAY, PART = 86_400_000, 400, 50
STEPPED = Canary(steps=(0.1, 0.5), samples=100, days=30)
POLICY = Promotion(policy="canary", canary=STEPPED, candidates_a_year=10, drift_a_year=0, margin=0.0)
FIGURES = Figures(**dict.fromkeys(Figures.__struct_fields__, 0))


def linear() -> nn.Module:
    return nn.Linear(4, 1)


def knows(share: float) -> nn.Module:
    """Return a model that answers so large a share of the truth."""
    model = nn.Linear(4, 1)
    with torch.no_grad():
        model.weight.copy_(torch.tensor([[2 * share, -2 * share, 0.0, 0.0]]))
        model.bias.zero_()
    return model


class Board:
    def put(self, feed: str, notes: dict[str, bytes]) -> None:
        pass


class World:
    """A feed whose requests are answered as they come, and whose outcomes come two hours later."""

    def __init__(self, folder: Path, policy: Promotion = POLICY, pipeline: Pipeline = small.pipeline) -> None:
        self.registry, self.pipeline = open_registry(folder), replace(pipeline, model=linear, promotion=policy)
        first = Champion(
            number=0, artifact=self.put(knows(0.2)), candidate=None, offset=(0.0,), at_ms=0, learned=0, evidence="",
            engine="a test",
        )  # fmt: skip
        self.asked, self.random, self.sign = 0, np.random.default_rng(0), 1.0
        self.predictions = list[Prediction]()
        self.commit([])
        assert self.registry.create(CHAMPIONS, 0, first)
        self.begin()

    def begin(self, pipeline: Pipeline | None = None) -> None:
        """Have all roles begin anew."""
        self.pipeline = pipeline or self.pipeline
        self.servers = [Served(self.registry, linear, engines=False) for _ in range(2)]
        board = cast(Store, Board())
        self.evaluator = EvaluatorRole(self.pipeline, small.timing(2), board, self.registry, engines=False)
        self.conductor = ConductorRole(self.pipeline.name, board, self.registry, self.pipeline.promotion)

    def put(self, model: nn.Module) -> str:
        return self.registry.put(artifact.pack(training_form(model, Recipe.parse("quantize(int8)")).eval(), {}))

    def commit(self, samples: Sequence[Sample], void: Mapping[str, str] | None = None) -> None:
        number = self.registry.last(COMMITS) + 1
        learned = self.asked
        newest = max((one.label_t for one in samples), default=0)
        made = Commit(
            number=number, parent="", learned=learned, samples=[Raw(msgspec.json.encode(one)) for one in samples],
            runs=[Run(0, learned - len(samples) + 1, len(samples))], batches=[len(samples)],
            shadow=[[0.0]] * len(samples), intercept=(0.0,), positions={}, watermark_ms=newest, heard_ms=newest,
            latest_ms=max((one.t for one in samples), default=0), fingerprint="",
            void=dict(void or {}),
        )  # fmt: skip
        append(self.registry, made)

    def bring(self, model: nn.Module) -> None:
        """Have a candidate made of what was learned."""
        number = self.registry.last(CANDIDATES) + 1
        made = Candidate(
            number=number, commit=self.registry.last(COMMITS), learned=self.asked, at_ms=0, reason="a test",
            artifact=self.put(model), figures=FIGURES, engine="a test", kind=Kind.REFRESH, by="me",
        )  # fmt: skip
        assert self.registry.create(CANDIDATES, number, made)

    def ask(self, requests: int) -> None:
        """Answer requests, part by part; all roles take what there is."""
        for _ in range(requests // PART):
            self.commit([self._answer(self.asked + n) for n in range(PART)])
            self.asked += PART
            self.work()

    def _answer(self, n: int) -> Sample:
        t_ms, key = small.START_MS + n * (DAY_MS // A_DAY), f"id-{n}"
        x = self.random.normal(size=4).round(3)
        label = float(self.random.random() < 1 / (1 + np.exp(-self.sign * 2 * (x[0] - x[1]))))
        version, other = (server.of(key) for server in self.servers)
        assert version.record == other.record
        row = small.Point(tuple(x.tolist()))
        (output,) = version.answer(small.encode([row])).tolist()
        asked = Prediction(
            key, t_ms, version.record.number, tuple(output), (0.0,), self.asked, Raw(msgspec.json.encode(row))
        )
        self.predictions.append(asked)
        return Sample(key, "joined", 0, t_ms, label, t_ms + 7_200_000, asked)

    def work(self) -> None:
        while self.evaluator.step(0) or self.conductor.step(0):
            pass
        newest = self.registry.last(CHAMPIONS)
        for server in self.servers:
            until(lambda server=server: server.newest == newest or server.refresh())  # type: ignore[misc]
            until(lambda server=server: server.newest == newest)  # type: ignore[misc]

    @property
    def versions(self) -> list[Champion]:
        return list(self.registry.records(CHAMPIONS))

    @property
    def shares(self) -> list[tuple[float, int | None]]:
        return [(one.share, one.back_to) for one in self.versions]


@pytest.fixture
def world(tmp_path: Path) -> World:
    world = World(tmp_path / "ads")
    world.ask(800)
    return world


def test_a_canary_grows_by_its_own_outcomes_and_becomes_champion(world: World) -> None:
    world.bring(knows(1.0))
    world.ask(2_400)
    assert world.shares == [(1.0, None), (0.1, None), (0.5, None), (1.0, None)]
    grown = world.versions[1:]
    assert len({one.artifact for one in grown}) == 1
    steps = [step for n in (1, 2) if (step := world.registry.record(STEPS, n))]
    assert [(step.share, step.passed, step.against) for step in steps] == [(0.1, True, 0), (0.5, True, 0)]
    assert all(step.own >= STEPPED.samples and step.gain > 0 for step in steps)
    assert steps[0].samples > 2 * steps[0].own  # both were asked all requests
    assert {"finite", "constant", "latency", "calibration"} <= {guard.name for guard in steps[0].guards}
    for one in world.predictions:
        share = world.versions[one.version].share
        assert share == 1 or chosen(one.id, grown[0].artifact, share)
    answered = [sum(one.version == n for one in world.predictions) for n in range(4)]
    assert answered[1] == pytest.approx(0.1 * (answered[1] + 900), rel=0.5)
    assert [str(one.because)[:3] for one in grown[1:]] == [str(step.own) for step in steps]


LONG = replace(POLICY, canary=Canary(steps=(0.1,), samples=10**6, days=1_000))


def begun(folder: Path, policy: Promotion = LONG) -> World:
    """Return a world in which version 1 is a canary."""
    world = World(folder, policy)
    world.ask(800)
    world.bring(knows(1.0))
    while world.registry.last(CHAMPIONS) < 1:
        world.ask(PART)
    return world


def test_a_canary_that_becomes_worse_goes_by_what_both_were_asked(tmp_path: Path) -> None:
    """The world turns: at a tenth of the requests it is seen as soon as at all of them, and its base has gone on."""
    world = begun(tmp_path / "ads")
    world.sign = -1.0
    asked = world.asked
    while world.registry.last(CHAMPIONS) < 2:
        assert world.asked < asked + 1_200
        world.ask(PART)
    assert world.shares == [(1.0, None), (0.1, None), (1.0, 0)]
    first, canary, back = world.versions
    alarm = world.registry.record(ALARMS, 0)
    assert alarm is not None
    assert (back.artifact, back.offset, back.because) == (first.artifact, first.offset, str(alarm))
    own = sum(one.version == 1 for one in world.predictions[asked:])
    assert alarm.samples > 5 * own
    world.sign = 1.0
    world.bring(knows(1.0))  # what was left by an alarm does not come again by itself
    world.ask(1_200)
    assert [one.artifact for one in world.versions[3:]] == []
    assert canary.artifact != first.artifact


def test_the_record_alone_says_how_far_it_is_through_any_restart(tmp_path: Path) -> None:
    """Roles that begin anew after every part, and a rival conductor, come to the versions of those that go on."""
    whole, broken = World(tmp_path / "a" / "ads"), World(tmp_path / "b" / "ads")
    for world, restarts in ((whole, False), (broken, True)):
        world.ask(800)
        world.bring(knows(1.0))
        for _ in range(12):
            world.ask(4 * PART)
            if restarts:
                world.begin()
                world.work()
    assert broken.shares == whole.shares == [(1.0, None), (0.1, None), (0.5, None), (1.0, None)]
    assert [one.commit for one in broken.versions] == [one.commit for one in whole.versions]
    assert broken.registry.last(ALARMS) == whole.registry.last(ALARMS) == -1
    broken.begin()
    for world in (whole, broken):
        world.sign = -1.0
        world.ask(1_200)
    assert list(broken.registry.records(ALARMS)) == list(whole.registry.records(ALARMS)) != []


def test_the_same_is_decided_again_on_the_record(world: World) -> None:
    """Backtest: the policy's own verdicts, steps and versions; another policy's canary answers its own requests."""
    world.bring(knows(1.0))
    world.ask(2_400)
    recorded = world.versions
    for policy in (POLICY, replace(POLICY, canary=replace(STEPPED, steps=(0.3,))), replace(POLICY, policy="automatic")):
        again = Again(world.pipeline, policy, small.timing(2), world.registry, recorded, engines=False)
        told = list[Sample]()
        for commit in world.registry.records(COMMITS):
            again.take(commit, commit.entries())
            told += again._registry._now.entries()  # type: ignore[union-attr]
        assert without_clock(again.verdicts[0]) == without_clock(world.registry.record(VERDICTS, 0))
        shares = [one.share for one in again.versions]
        if policy is POLICY:
            assert [(one.share, one.commit) for one in again.versions] == [(one.share, one.commit) for one in recorded]
            assert [one.prediction for one in told] == world.predictions
        elif policy.policy == "automatic":
            assert shares == [1.0, 1.0]
        else:
            assert shares == [1.0, 0.3, 1.0]
            by = [one.prediction for one in told]
            began = next(n for n, one in enumerate(by) if one.version == 1)
            ended = next(n for n, one in enumerate(by) if one.version == 2)
            artifact = again.versions[1].artifact
            assert all((one.version == 1) is chosen(one.id, artifact, 0.3) for one in by[began:ended])


def without_clock(verdict: Any) -> Any:
    return msgspec.structs.replace(verdict, guards=tuple(one for one in verdict.guards if one.name != "latency"))


def test_a_person_promotes_it_takes_it_back_or_has_it_wait(tmp_path: Path) -> None:
    short = replace(POLICY, canary=replace(STEPPED, samples=20))
    held = begun(tmp_path / "a" / "ads", short)
    give(held.registry, "pause", "a campaign", "eva")
    held.ask(800)
    assert held.shares == [(1.0, None), (0.1, None)]
    give(held.registry, "resume", "it is over", "eva")
    held.ask(PART)
    assert held.shares[2:] == [(0.5, None)]
    give(held.registry, "rollback", "no", "eva")
    held.ask(600)
    assert held.shares[3:] == [(1.0, 0)]
    assert held.versions[3].by == "eva"
    hurried = begun(tmp_path / "b" / "ads")
    give(hurried.registry, "promote", "now", "eva", version=1)
    hurried.ask(PART)
    assert hurried.shares[2:] == [(1.0, None)]
    hurried.ask(PART)
    assert {one.version for one in hurried.predictions[-PART:]} == {2}
    assert hurried.versions[2].artifact == hurried.versions[1].artifact


def test_a_guard_rail_that_breaks_at_a_step_takes_it_back_even_in_a_pause(tmp_path: Path) -> None:
    reports = list[TrialReport]()

    def once(report: TrialReport) -> str | None:
        reports.append(report)
        return "I have seen enough" if len(reports) > 1 else None

    world = begun(tmp_path / "ads", replace(POLICY, guards=[once]))
    give(world.registry, "pause", "a campaign", "eva")
    world.ask(1_600)
    assert world.shares == [(1.0, None), (0.1, None), (1.0, 0)]
    assert world.versions[2].because == "v1: once: I have seen enough"
    assert [(one.candidate, one.champion) for one in reports] == [(0, 0)] * 2


def test_a_candidate_under_test_goes_on_against_the_base_when_a_canary_goes(tmp_path: Path) -> None:
    """What it has shown against the base counts: that has served all the time."""
    reports = list[TrialReport]()

    def once(report: TrialReport) -> str | None:
        reports.append(report)
        return "I have seen enough" if len(reports) == 2 else None

    world = begun(tmp_path / "ads", replace(POLICY, guards=[once], canary=replace(STEPPED, samples=20)))
    world.bring(knows(0.6))
    while (verdict := world.registry.record(VERDICTS, 1)) is None:
        assert world.asked < 9_000
        world.ask(PART)
    assert world.shares[1:3] == [(0.1, None), (1.0, 0)]
    assert [one.champion for one in verdict.against] == [0]
    assert verdict.against[0].samples > (world.asked - 2_000) / 2


def test_a_newer_one_that_is_proven_takes_its_place(tmp_path: Path) -> None:
    """It has beaten the canary, too; a rollback then is to what answers the rest, not to the canary of before."""
    world = World(tmp_path / "ads", replace(LONG, canary=Canary(steps=(0.2,), samples=10**6, days=1_000)))
    world.ask(800)
    world.bring(knows(0.5))
    world.ask(2_000)
    world.bring(knows(1.0))
    world.ask(6_000)
    assert world.shares == [(1.0, None), (0.2, None), (0.2, None)]
    assert [one.candidate for one in world.versions] == [None, 0, 1]
    verdict = world.registry.record(VERDICTS, 1)
    assert verdict is not None
    assert [one.champion for one in verdict.against] == [0, 1]
    give(world.registry, "rollback", "no", "eva")
    world.ask(PART)
    assert (world.versions[3].artifact, world.versions[3].back_to) == (world.versions[0].artifact, 0)


def test_an_output_that_is_not_finite_takes_it_back_wherever_it_was_asked(tmp_path: Path) -> None:
    """Its base has answered the request: the canary was asked in the shadow."""
    world = begun(tmp_path / "ads")
    ours, _, _ = world.evaluator._evaluator.watch.canary or pytest.fail("it is not watched")
    ours.model = lambda x: torch.full((len(x), 1), torch.nan)
    world.ask(PART)
    alarm = world.registry.record(ALARMS, 0)
    assert alarm is not None
    assert (alarm.kind, alarm.detector, world.shares[2:]) == ("guard", "finite", [(1.0, 0)])


@pytest.mark.parametrize("lies", [0, 1])
def test_both_versions_that_serve_are_computed_again(lies: int, tmp_path: Path) -> None:
    world = begun(tmp_path / "ads", replace(LONG, canary=Canary(steps=(0.5,), samples=10**6, days=1_000)))
    world.ask(1_200)
    assert world.registry.last(ALARMS) == -1
    honest = world._answer

    def answer(n: int) -> Sample:
        one = honest(n)
        false = msgspec.structs.replace(one.prediction, output=(one.prediction.output[0] + 0.1,))
        return msgspec.structs.replace(one, prediction=false) if one.prediction.version == lies else one

    world._answer = answer  # type: ignore[method-assign]
    world.ask(1_400)
    assert [(one.kind, one.champion) for one in world.registry.records(ALARMS)] == [("mismatch", lies)]
