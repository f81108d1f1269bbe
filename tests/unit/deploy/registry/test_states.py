"""Whole states in a registry: what does not learn is there once; an audit knows a state in whatever form it is kept."""

from pathlib import Path

import pytest
import torch
from torch import nn

from deploy.learning.bootstrap import bootstrap
from deploy.learning.candidates import make_learner
from deploy.pipeline import Pipeline
from deploy.registry import states
from deploy.registry.backup import back_up
from deploy.registry.commits import read
from deploy.registry.gc.sweep import look
from deploy.registry.kinds import FROZEN
from deploy.registry.rebuild import check, rebuild
from deploy.registry.registry import Registry
from learners.commits.compact import pack
from learners.commits.state import pack_state
from learners.online.learner import Learner
from streams.errors import RegistryError
from tests import small
from tests.committed import append, empty


def net() -> nn.Module:
    made = nn.Sequential(nn.Linear(4, 256), nn.ReLU(), nn.Linear(256, 16), nn.ReLU(), nn.Linear(16, 1))
    made[0].requires_grad_(False)
    return made


PIPELINE = Pipeline(
    name="frozen", model=net, features=small.Point, encode=small.encode, online=small.pipeline.online,
)  # fmt: skip


def again(registry: Registry, digest: str) -> Learner:
    learner = make_learner(PIPELINE)
    learner.load(states.get(registry, digest))
    return learner


def test_a_state_goes_on_as_the_one_that_was_taken_and_frozen_parameters_are_there_once(tmp_path: Path) -> None:
    registry, learner = Registry(tmp_path / "feed"), make_learner(PIPELINE)
    learner.learn(small.samples(70))
    digest, packed = states.put(registry, learner)
    assert registry.get(digest) == packed
    other = again(registry, digest)
    for one in (learner, other):
        one.learn(small.samples(100, start=70))
    assert pack(other.state()) == pack(learner.state())
    later, _ = states.put(registry, learner)
    assert later != digest
    assert states.digest_of(registry, other, later) == later
    assert states.digest_of(registry, other, digest) == later, "another state's"
    names = registry.objects.list(FROZEN)
    assert len(names) == 1, "the weight; the bias is too small for an object"
    assert torch.equal(other.teacher.model[0].weight, learner.teacher.model[0].weight)  # type: ignore[index]
    assert {one.name: one.kept_for for one in look(registry).stays}[f"{FROZEN}/"] == ["every state: it does not learn"]
    (registry.folder / names[0]).unlink()
    with pytest.raises(RegistryError, match=rf"{names[0]} is missing"):
        states.get(registry, later)
    with pytest.raises(RegistryError, match="is missing"):
        states.get(registry, "0" * 64)


@pytest.mark.parametrize("lost", [False, True])
def test_a_state_of_an_older_release_is_learned_on_from_and_its_audit_holds(tmp_path: Path, *, lost: bool) -> None:
    registry, learner = Registry(tmp_path), make_learner(PIPELINE)
    first = registry.put(pack_state(learner.state()))
    append(registry, empty(0, state=first))
    append(registry, empty(1, state=first))
    assert rebuild(make_learner(PIPELINE), registry, 1) == 1
    if not lost:
        assert check(make_learner(PIPELINE), registry).equal
    learner.learn(small.samples(40))
    kept = registry.put(pack_state(learner.state()))
    if lost:
        (registry.folder / "blobs" / kept).unlink()
    assert states.digest_of(registry, learner, kept) == kept
    assert states.digest_of(registry, again(registry, first), kept) != kept


def test_a_backup_has_what_its_states_need(tmp_path: Path) -> None:
    registry = Registry(tmp_path / "feed")
    assert bootstrap(PIPELINE, registry)
    back_up(registry.folder, tmp_path / "copy")
    copy = Registry(tmp_path / "copy")
    assert pack(again(copy, str(read(copy, 0).state)).state())
    assert rebuild(make_learner(PIPELINE), copy, 0) == 0
