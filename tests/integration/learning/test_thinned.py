"""What is left of states rebuilds to the same bits; what goes on after a start is what it would be without one."""

from dataclasses import replace
from random import Random
from typing import Any

import pytest
from redis import Redis

from deploy.learning import distiller as distilling
from deploy.learning.candidates import make_learner
from deploy.learning.distiller import DistillerRole
from deploy.registry.candidates import add
from deploy.registry.commits import read
from deploy.registry.gc.sweep import sweep
from deploy.registry.kinds import CANDIDATES, COMMITS
from deploy.registry.rebuild import rebuild
from deploy.registry.records import Candidate, Figures
from deploy.registry.states.beside import States
from deploy.registry.states.names import STATES, listed
from deploy.registry.storage import Disk
from learners.commits.state import pack_state
from streams.errors import RegistryUnwritable
from streams.events import Sample
from streams.join.store import Store
from tests import small
from tests.learned import Fed, commits, put_back, snapshot

FIGURES = Figures(**dict.fromkeys(Figures.__struct_fields__, 0))


def test_a_learner_whose_states_are_thinned(fed: Fed, embedded_store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(States, "due", True)
    feed = fed(small.samples(400), 1, embedded_store)
    role, states = feed.learner(10, every_days=0.2), dict[int, bytes]()
    while feed.log and read(feed.registry, feed.registry.last(COMMITS)).learned < len(feed.log):
        feed.join(0, 20)
        role.step(1)
        states[feed.registry.last(COMMITS)] = pack_state(role._learner.state())
        role._states.settle()
        sweep(feed.registry)
    due = [n for n in range(feed.registry.last(COMMITS) + 1) if read(feed.registry, n).due]
    assert due, "no candidate is due: the test tests nothing"
    there = {name.number for name in listed(feed.registry.objects)}
    assert {*due} <= there
    assert {*states} - there
    for n in states:
        learner = make_learner(feed.pipeline)
        rebuild(learner, feed.registry, n)
        assert pack_state(learner.state()) == states[n], n
    distiller = DistillerRole(feed.pipeline, embedded_store, feed.registry)
    while distiller._take():
        pass
    assert feed.registry.last(CANDIDATES) == len(due) - 1
    sweep(feed.registry)
    feed.check(feed.learner(10))


def test_a_candidate_of_a_state_that_never_came_is_that_of_one_that_did(
    fed: Fed, embedded_store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(distilling, "PATIENCE_S", 0.0)
    feed = fed(small.samples(120), 1, embedded_store)
    role = feed.learner(40, every_days=0.2)
    for _ in range(3):
        feed.join(most=40)
        role.step(1)
    role._states.settle()
    due = next(commit for commit in commits(feed.registry) if commit.due)
    (name,) = (name for name in listed(feed.registry.objects) if name.number == due.number)
    made = list[str]()
    for _ in range(2):
        distiller = DistillerRole(feed.pipeline, embedded_store, feed.registry)
        distiller._remember_again(due.number)
        distiller._make(due)
        (candidate,) = feed.registry.records(CANDIDATES)
        made.append(candidate.artifact)
        for gone in (name.object, CANDIDATES.object(candidate.number)):
            feed.registry.objects.delete(gone)
    assert made[0] == made[1]


def test_a_learner_that_was_stopped_goes_on_where_it_was(fed: Fed, embedded_store: Store) -> None:
    feed = fed(small.samples(150), 1, embedded_store)
    role = feed.learner(40)
    feed.join(most=95)
    role.step(1)
    role.keep()
    last = feed.registry.last(COMMITS)
    assert read(feed.registry, last).learned == 95, "the rest was committed, too"
    again = feed.learner(40)
    assert again._states.newest == last
    again.keep()
    assert feed.registry.last(COMMITS) == last, "nothing to say"
    assert len(listed(feed.registry.objects)) == 1
    feed.finish(again)
    feed.check(again)


def test_learning_goes_on_where_no_state_can_be_written(
    fed: Fed, embedded_store: Store, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    feed = fed(small.samples(100), 1, embedded_store)
    role, create = feed.learner(20), Disk.create

    def full(disk: Disk, name: str, data: bytes, **more: Any) -> bool:
        if name.startswith(STATES):
            raise RegistryUnwritable("no space is left")
        return create(disk, name, data, **more)

    monkeypatch.setattr(States, "due", True)
    monkeypatch.setattr(Disk, "create", full)
    feed.finish(role)
    role._states.settle()
    assert "the state after commit 1 is not kept, and a start learns more again: no space is left" in caplog.text
    assert not listed(feed.registry.objects)
    feed.check(feed.learner(20))


@pytest.mark.parametrize("seed", range(3))
def test_a_distiller_that_goes_on_has_the_samples_of_one_that_began_at_the_first(
    fed: Fed, embedded_store: Store, embedded_redis: Redis, seed: int
) -> None:
    feed, random = fed(small.samples(300), 2, embedded_store), Random(seed)
    feed.pipeline = replace(feed.pipeline, online=replace(feed.pipeline.online, replay=70))
    role = feed.learner(10)
    for n in range(12):
        shard = random.randrange(2)
        kept = snapshot(embedded_redis, feed.name, shard) if n % 4 == 3 else None
        feed.join(shard, random.randrange(1, 40))
        role.step(1)
        if kept and random.random() < 0.7:
            put_back(embedded_redis, kept)
    feed.finish(role)
    first = DistillerRole(feed.pipeline, embedded_store, feed.registry)
    last, found = feed.registry.last(COMMITS), dict[int, list[Sample]]()
    while first._take():
        found[first._commit] = [*first._replay]
    assert any(read(feed.registry, n).void for n in found), "nothing is taken back: the test tests less"
    for at in range(last):
        made = Candidate(
            number=-1, commit=at, learned=0, at_ms=0, reason="", artifact="", figures=FIGURES, refused="a test"
        )
        add(feed.registry, made)
        again = DistillerRole(feed.pipeline, embedded_store, feed.registry)
        assert again._commit == at
        assert [*again._replay] == found[at]
        assert again._take()
        assert [*again._replay] == found[at + 1]
