"""An evaluator that goes on from its summaries comes to what one comes to that takes every commit, bit for bit."""

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar, cast

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec import Struct

from deploy.backtest.scratch import Scratch
from deploy.operate.versions.orders import give
from deploy.pipeline import Pipeline
from deploy.promotion.evaluator import EvaluatorRole
from deploy.registry.candidates import GONE, gone
from deploy.registry.kinds import ALARMS, BLOBS, CANDIDATES, CHAMPIONS, COMMITS, STEPS, VERDICTS, Kind
from deploy.registry.registry import Registry
from learners.evaluation.canary import Canary
from learners.evaluation.gate import Promotion
from learners.packing import pack
from streams.errors import ConfigError
from streams.join.store import Store
from tests import small
from tests.unit.deploy.promotion.test_canary import PART, POLICY, Board, World, knows

T = TypeVar("T", bound=Struct)
MADE = (VERDICTS.name, ALARMS.name, STEPS.name)
SLICED = replace(small.pipeline, slices=("x",))


class Undecided(Registry):
    """A run's registry without its verdicts: an evaluator comes to its own, which are kept in memory."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.made = dict[tuple[str, int], Any]()

    def create(self, kind: Kind[T], number: int, record: T) -> bool:
        return self.made.setdefault((kind.name, number), record) is record

    def record(self, kind: Kind[T], number: int) -> T | None:
        return cast(T | None, self.made.get((kind.name, number))) if kind.name in MADE else super().record(kind, number)

    @property
    def decided(self) -> dict[tuple[str, int], Any]:
        """What was made, but for what a clock has measured."""
        return {at: _without_clock(made) for at, made in sorted(self.made.items())}


def _without_clock(made: Any) -> Any:
    if not hasattr(made, "guards"):
        return made
    return msgspec.structs.replace(made, guards=tuple(one for one in made.guards if one.name != "latency"))


class Run:
    """A run that is over: its registry, and its pipeline."""

    def __init__(self, world: World) -> None:
        self.folder, self.pipeline = world.registry.folder, world.pipeline
        self.last = world.registry.last(COMMITS)
        shutil.rmtree(self.folder / "folds", ignore_errors=True)
        self.whole = self.folded([])

    def folded(self, cuts: list[int], pipeline: Pipeline | None = None) -> tuple[bytes, dict[tuple[str, int], Any]]:
        """Return all that an evaluator holds in the end, and what it made, if it begins anew after these commits."""
        shutil.rmtree(self.folder / "folds", ignore_errors=True)
        registry = Undecided(self.folder)
        role = self.begun(registry, pipeline)
        for cut in sorted(cuts):
            while role._commit < cut:
                assert role.step(0)
            role.keep()
            role = self.begun(registry, pipeline)
            assert role._commit == cut
        while role.step(0):
            pass
        assert role._commit == self.last
        rest = (role._version, role._alarms, role._candidate, role._verdicts, role._read, role._awaits)
        held = pack(role._evaluator.state()) + pack(role._recomputed.state()) + repr(rest).encode()
        return held, registry.decided

    def begun(self, registry: Registry, pipeline: Pipeline | None = None) -> EvaluatorRole:
        store = cast(Store, Board())
        return EvaluatorRole(pipeline or self.pipeline, small.timing(2), store, registry, engines=False)


def void(world: World) -> None:
    """Have the store lose the newest 30 samples, which come again in the next commit."""
    at = world.asked - 30
    newest = world.registry.record(COMMITS, world.registry.last(COMMITS))
    assert newest is not None
    world.commit(newest.entries()[-30:], void={"0": f"{at}-0"})
    world.work()


def lived(folder: Path, policy: Promotion) -> Run:
    """A run with overlapping trials, a canary, a forced promotion, what becomes worse, a rollback, and voids."""
    world = World(folder, policy, SLICED)
    world.ask(800)
    world.bring(knows(0.5))
    world.ask(4 * PART)
    world.bring(knows(1.0))
    world.bring(knows(-0.5))
    world.ask(600)
    void(world)
    world.ask(1_400)
    world.bring(knows(-1.0))
    give(world.registry, "promote", "a hunch", "eva", candidate=3)
    world.ask(1_000)
    void(world)
    give(world.registry, "rollback", "no", "eva")
    world.bring(knows(0.8))
    world.ask(1_200)
    return Run(world)


@pytest.fixture(scope="module", params=["canary", "automatic"])
def run(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Run:
    policy = replace(POLICY, policy=request.param, canary=Canary(steps=(0.1, 0.5), samples=100, days=30))
    return lived(tmp_path_factory.mktemp(request.param) / "ads", policy)


@settings(max_examples=4, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(data=st.data())
def test_resumed_anywhere_is_from_the_first_commit(run: Run, data: st.DataObject) -> None:
    cuts = data.draw(st.sets(st.integers(1, run.last - 1), min_size=1, max_size=12))
    held, made = run.folded(list(cuts))
    whole, decided = run.whole
    assert made == decided
    assert held == whole


def test_what_cannot_be_gone_on_from_is_said_and_left(run: Run, caplog: pytest.LogCaptureFixture) -> None:
    """A damaged summary, one of other commits, of another pipeline; then there is none."""
    run.folded([run.last // 2, run.last - 1])
    registry, folder = Registry(run.folder), run.folder / "folds" / "evaluator"
    newest, before = (name.rpartition("/")[2] for _, name in registry.folds("evaluator").names())
    data = (folder / newest).read_bytes()
    (folder / newest).write_bytes(data[: len(data) // 2] + b"?" + data[len(data) // 2 + 1 :])
    assert run.begun(registry)._commit == int(before.partition("-")[0])
    assert f"{newest} is damaged" in caplog.text
    (folder / newest).unlink()
    (folder / f"{before[:12]}-{'0' * 64}").write_bytes((folder / before).read_bytes())
    (folder / before).unlink()
    assert run.begun(registry)._commit == -1
    assert "is of other commits" in caplog.text
    held, made = run.folded([run.last // 2], replace(run.pipeline, slices=()))
    assert run.begun(registry)._commit == -1
    assert "is of another pipeline" in caplog.text
    assert made == run.whole[1]
    assert held != run.whole[0]


def test_from_the_first_commit_without_the_artifacts_of_old_candidates(run: Run, tmp_path: Path) -> None:
    """Their verdicts stand; versions, metrics and what is still tested are as if nothing had gone."""
    shutil.copytree(run.folder, tmp_path / "ads")
    registry = Registry(tmp_path / "ads")
    shutil.rmtree(registry.folder / "folds", ignore_errors=True)
    whole = run.begun(registry)
    while whole.step(0):
        pass
    served = {one.artifact for one in registry.records(CHAMPIONS)}
    verdicts = {one.number: registry.read(VERDICTS, one.number) for one in registry.records(CANDIDATES)}
    old = [one for one in registry.records(CANDIDATES) if one.artifact not in served and verdicts[one.number]]
    assert old, "every candidate has served: the test tests nothing"
    for one in old:
        registry.objects.delete(f"{BLOBS}/{one.artifact}")
    assert gone(registry) == {one.number for one in old}
    shutil.rmtree(registry.folder / "folds", ignore_errors=True)
    again = run.begun(registry)
    while again.step(0):
        pass
    assert (again._commit, again._version, again._verdicts) == (whole._commit, whole._version, whole._verdicts)
    assert again.metrics == whole.metrics
    assert again._evaluator.trials.champion.key == whole._evaluator.trials.champion.key
    assert {one.number: registry.read(VERDICTS, one.number) for one in registry.records(CANDIDATES)} == verdicts
    with pytest.raises(ConfigError, match="has no artifact any more"):
        give(registry, "promote", "a hunch", "eva", candidate=old[0].number)
    seen = Scratch(registry).record(CANDIDATES, old[0].number)
    assert seen
    assert seen.refused == GONE
