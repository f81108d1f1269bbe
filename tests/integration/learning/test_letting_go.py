"""Old samples are let go while a feed learns: every role goes on; what reaches behind the log's begin is refused."""

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from redis import Redis

from deploy.learning.candidates import make_learner
from deploy.learning.distiller import DistillerRole
from deploy.promotion.evaluator import EvaluatorRole
from deploy.registry.commits import base, read
from deploy.registry.gc import choosing
from deploy.registry.gc.choosing import Keeping
from deploy.registry.gc.heads import Heads
from deploy.registry.gc.sweep import Kept as Swept
from deploy.registry.gc.sweep import look, sweep
from deploy.registry.kinds import COMMITS, EVALUATOR, VERDICTS
from deploy.registry.learned import count_learned, learned_equations
from deploy.registry.log import sealer as sealing
from deploy.registry.log.sealer import Sealer
from deploy.registry.log.segments import LOG
from deploy.registry.rebuild import check, rebuild
from deploy.registry.registry import Registry
from deploy.registry.states.beside import States
from deploy.registry.states.kept import Kept
from deploy.registry.states.names import STATES
from deploy.registry.storage import Disk
from learners.commits.state import pack_state
from streams.errors import BrokerUnreachable, HistoryChanged, LetGo
from streams.join.store import Store
from tests import small
from tests.learned import Fed, put_back, snapshot

NEVER_MS = 1 << 62
KEPT = Keeping(samples=60, replay=40, span_ms=0, oldest_ms=lambda: NEVER_MS)


def seal(registry: Registry) -> None:
    """Seal all commits but the newest, a few in each segment."""
    sealer = Sealer(registry.objects, commits=1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sealing, "MOST_TEXT", 8_000)
        while sealer.step():
            pass


class Run:
    """A feed with all roles that read its log, taken on by hand."""

    def __init__(self, fed: Fed, store: Store) -> None:
        self.store, self.feed = store, fed(small.samples(300), 1, store)
        self.feed.pipeline = replace(self.feed.pipeline, online=replace(self.feed.pipeline.online, replay=40))
        self.role = self.feed.learner(10, every_days=1.0)
        self.distiller, self.evaluator = self.makes(self.feed.registry)

    def makes(self, registry: Registry, **more: Any) -> tuple[DistillerRole, EvaluatorRole]:
        evaluator = EvaluatorRole(self.feed.pipeline, small.timing(1), self.store, registry, engines=False, **more)
        return DistillerRole(self.feed.pipeline, self.store, registry), evaluator

    def go_on(self, samples: int) -> None:
        for _ in range(samples // 20):
            self.feed.join(most=20)
            self.role.step(1)
            self.role._states.settle()
            self.follow(self.distiller, self.evaluator)
        self.evaluator.keep()
        seal(self.feed.registry)

    def follow(self, *roles: DistillerRole | EvaluatorRole) -> None:
        while sum(role.step(0) for role in roles):
            pass

    def check_starts(self, registry: Registry) -> None:
        """Have every role start, with and without summaries, and audit what there is."""
        learner, last = make_learner(self.feed.pipeline), registry.last(COMMITS)
        rebuild(learner, registry, last)
        assert pack_state(learner.state()) == pack_state(Kept(registry).of(read(registry, last)) or {})
        assert check(make_learner(self.feed.pipeline), registry).equal
        for more in ({}, {"summaries": False}):
            roles = self.makes(registry, **more)
            self.follow(*roles)
            assert [role._commit for role in roles] == [last, last]
        for equation in learned_equations(self.feed.states, count_learned(registry)):
            assert equation.holds, equation


@pytest.fixture
def run(fed: Fed, embedded_store: Store, monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.setattr(States, "due", True)
    return Run(fed, embedded_store)


def states_of(kept: Swept) -> set[str]:
    """Return the states that go."""
    return {one.name for one in kept.goes if one.name.startswith(f"{STATES}/")}


def test_every_role_goes_on_wherever_the_letting_go_was_cut_off(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run.go_on(160)
    registry, verdicts = run.feed.registry, run.feed.registry.last(VERDICTS)
    before, deleted = look(registry, keeping=KEPT), list[str]()
    assert before.letting
    assert before.letting.begins > 0 == registry.begins()
    delete = Disk.delete

    def killed(objects: Disk, name: str) -> None:
        if len(deleted) == cut:
            raise KeyboardInterrupt
        deleted.append(name)
        delete(objects, name)

    monkeypatch.setattr(Disk, "delete", killed)
    names = [one.name for one in before.goes if one.name.startswith(f"{LOG}/")]
    for cut in (0, 1, 3):
        deleted.clear()
        shutil.copytree(registry.folder, folder := tmp_path / f"cut{cut}")
        with pytest.raises(KeyboardInterrupt):
            sweep(Registry(folder), keeping=KEPT)
        assert Registry(folder).begins() == before.letting.begins
        run.check_starts(Registry(folder))
    monkeypatch.setattr(Disk, "delete", delete)
    heads = Heads()
    swept = sweep(registry, keeping=KEPT, heads=heads)
    assert swept.letting == before.letting
    assert states_of(swept) == states_of(before) != set()
    assert [one.name for one in swept.goes if one.name.startswith(f"{LOG}/")] == names != []
    assert not {*names} & {*registry.objects.list(LOG)}
    with pytest.raises(LetGo, match="the log begins there, and commit 0 was let go"):
        read(registry, 0)
    found = base(registry)
    assert found
    assert found.samples == read(registry, found.number).learned - len(read(registry, found.number).shadow)
    run.check_starts(registry)
    run.go_on(120)
    begins, told = registry.begins(), look(registry, keeping=KEPT)
    assert states_of(sweep(registry, keeping=KEPT, heads=heads)) == states_of(told) != set()
    assert registry.begins() > begins
    assert heads.read(registry) == Heads().read(registry)
    assert registry.last(VERDICTS) > verdicts
    run.check_starts(registry)
    run.feed.finish(run.role)
    run.feed.learner()
    assert count_learned(registry).samples == len(run.feed.log)


def test_what_keeps_the_log_from_beginning_later_is_said(run: Run) -> None:
    run.go_on(160)
    registry = run.feed.registry
    heads = Heads().read(registry)

    def away() -> int:
        raise BrokerUnreachable("it is away")

    def why(**more: Any) -> str:
        chosen = choosing.choose(registry, KEPT._replace(**more), heads)
        assert chosen.base is None
        return chosen.why

    assert why(samples=1_000) == "the log has no more than 1,000 samples yet"
    assert "the candidate after that of commit" in why(replay=1_000)
    assert "a store that is lost would join commit 1 again" in why(oldest_ms=lambda: run.feed.log[0].t)
    assert "cannot be read" in why(oldest_ms=lambda: None)
    assert "tell its oldest event: it is away" in why(oldest_ms=away)
    some = choosing.choose(registry, KEPT._replace(span_ms=7, oldest_ms=lambda: run.feed.log[60].label_t), heads).base
    whole = choosing.choose(registry, KEPT, heads).base
    assert some
    assert whole
    assert some.number < whole.number
    assert some.until_ms + 7 < run.feed.log[60].label_t <= whole.until_ms
    for name in registry.objects.list(f"folds/{EVALUATOR.name}"):
        registry.objects.delete(name)
    assert why() == "the evaluator has no summary, and would begin at the first commit"


def test_a_void_that_reaches_behind_the_begin_is_a_contradiction(run: Run, embedded_redis: Redis) -> None:
    run.go_on(60)
    then = snapshot(embedded_redis, run.feed.name, 0)
    run.go_on(160)
    sweep(run.feed.registry, keeping=KEPT)
    put_back(embedded_redis, then)
    with pytest.raises(HistoryChanged, match=r"the log begins, since older .* let go .*Put a newer copy") as at:
        run.role.step(1)
    assert at.value.exit_code == 4
