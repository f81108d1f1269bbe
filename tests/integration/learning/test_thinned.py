"""What is left of states rebuilds to the same bits; what goes on after a start is what it would be without one."""

from dataclasses import replace
from random import Random
from typing import Any

import pytest
from redis import Redis

from deploy.learning import learner as learning
from deploy.learning.candidates import make_learner
from deploy.learning.distiller import DistillerRole
from deploy.registry.candidates import add
from deploy.registry.commits import read
from deploy.registry.gc.sweep import sweep
from deploy.registry.kinds import BLOBS, CANDIDATES, COMMITS, Kind
from deploy.registry.rebuild import rebuild
from deploy.registry.records import Candidate, Figures
from learners.commits.commit import decode
from learners.commits.compact import pack
from learners.commits.state import pack_state
from streams.events import Sample
from streams.join.store import Store
from tests import small
from tests.learned import Fed, put_back, snapshot

FIGURES = Figures(**dict.fromkeys(Figures.__struct_fields__, 0))


def test_a_learner_whose_states_are_thinned(fed: Fed, embedded_store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(learning, "state_due", lambda *_: True)
    feed = fed(small.samples(400), 1, embedded_store)
    role, states = feed.learner(10, every_days=0.2), dict[int, bytes]()
    while feed.log and read(feed.registry, feed.registry.last(COMMITS)).learned < len(feed.log):
        feed.join(0, 20)
        role.step(1)
        states[feed.registry.last(COMMITS)] = pack_state(role._learner.state())
        sweep(feed.registry)
    due = [n for n in range(feed.registry.last(COMMITS) + 1) if read(feed.registry, n).due]
    assert due, "no candidate is due: the test tests nothing"
    gone = [n for n in states if feed.registry.find(str(read(feed.registry, n).state)) is None]
    assert gone
    assert not {*gone} & {*due}
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


def test_a_state_swept_between_its_writing_and_its_commit_is_written_again(
    fed: Fed, embedded_store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(learning, "state_due", lambda *_: True)
    feed = fed(small.samples(60), 1, embedded_store)
    role, write = feed.learner(10), feed.registry.write

    def swept(kind: Kind[Any], number: int, data: bytes) -> bool:
        (feed.registry.folder / BLOBS / str(decode(data).state)).unlink()
        return write(kind, number, data)

    monkeypatch.setattr(feed.registry, "write", swept)
    feed.finish(role)
    last = read(feed.registry, feed.registry.last(COMMITS))
    assert last.state
    assert feed.registry.find(last.state) == pack(role._learner.state())


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
