"""Whole states in a registry: each is of one commit, as it was then; what is damaged is passed over; what does not
learn is there once."""

from collections.abc import Callable
from pathlib import Path
from threading import Event

import msgspec
import pytest
import torch
from msgspec import Raw
from torch import nn

from deploy.learning.bootstrap import bootstrap
from deploy.learning.candidates import make_learner
from deploy.pipeline import Pipeline
from deploy.registry.backup import back_up
from deploy.registry.commits import read
from deploy.registry.gc.needs import stays
from deploy.registry.gc.sweep import look, sweep
from deploy.registry.kinds import COMMITS, FROZEN
from deploy.registry.opening import open_registry
from deploy.registry.rebuild import check, rebuild
from deploy.registry.registry import Registry
from deploy.registry.states import kept
from deploy.registry.states.beside import TIMES, States
from deploy.registry.states.kept import Kept, write
from deploy.registry.states.names import Name, listed
from learners.commits.commit import Commit, Due, Run
from learners.commits.compact import pack
from learners.commits.copies import Copies
from learners.commits.state import fold, pack_state
from streams.errors import RegistryError
from streams.events import encode
from tests import small
from tests.committed import append, digest, empty

WAIT_S = 60.0  # against a hang alone


def net() -> nn.Module:
    made = nn.Sequential(nn.Linear(4, 256), nn.ReLU(), nn.Linear(256, 16), nn.ReLU(), nn.Linear(16, 1))
    made[0].requires_grad_(False)
    return made


PIPELINE = Pipeline(
    name="frozen", model=net, features=small.Point, encode=small.encode, online=small.pipeline.online,
)  # fmt: skip


def learned(number: int) -> Commit:
    """Return a commit of 20 samples."""
    samples = small.samples(20, start=20 * number - 20)
    return empty(
        number, learned=20 * number, samples=[Raw(encode(one)) for one in samples], batches=[20],
        shadow=[[0.0]] * 20, runs=[Run(0, 20 * number - 19, 20)], positions={"0": f"{20 * number}-0"},
    )  # fmt: skip


@pytest.fixture
def grown(tmp_path: Path) -> tuple[Registry, list[bytes]]:
    """A registry of six commits, the 2nd, 4th and 5th with a state; and the state after each."""
    registry, learner = Registry(tmp_path / "feed"), make_learner(PIPELINE)
    assert bootstrap(PIPELINE, registry)
    learner.load(kept.get(registry, str(read(registry, 0).state)))
    then, states = [pack(learner.state())], States(registry, learner, 1e9)
    for n in range(1, 7):
        commit = learned(n)
        append(registry, commit)
        fold(learner, [commit])
        then.append(pack(learner.state()))
        if n in (2, 4, 5):
            states.take(n, digest(registry.read(COMMITS, n)))
    states.settle()
    return registry, then


Grown = tuple[Registry, list[bytes]]


def again(registry: Registry, last: int = 6) -> tuple[int, bytes]:
    """Rebuild; return the commit from whose state that began, and the state."""
    learner = make_learner(PIPELINE)
    return rebuild(learner, registry, last), pack(learner.state())


def test_a_state_taken_is_the_state_rebuilt_and_what_does_not_learn_is_there_once(grown: Grown) -> None:
    registry, then = grown
    assert [(name.number, name.ordinal) for name in listed(registry.objects)] == [(2, 1), (4, 2), (5, 3)]
    for n in (2, 4, 5):
        found = Kept(registry).of(read(registry, n))
        assert found is not None
        assert pack(found) == then[n]
    assert [again(registry, n) for n in range(7)] == [
        (max(s for s in (0, 2, 4, 5) if s <= n), then[n]) for n in range(7)
    ]
    assert check(make_learner(PIPELINE), registry).equal
    names = registry.objects.list(FROZEN)
    assert len(names) == 1, "the weight; the bias is too small for an object"
    assert {one.name: one.kept_for for one in look(registry).stays}[f"{FROZEN}/"] == ["every state: it does not learn"]
    (registry.folder / names[0]).unlink()
    with pytest.raises(RegistryError, match="holds no commit with a whole state"):
        again(registry)


def test_a_backup_has_what_its_states_need(grown: Grown, tmp_path: Path) -> None:
    registry, then = grown
    back_up(registry.folder, tmp_path / "copy")
    assert again(Registry(tmp_path / "copy")) == (5, then[6])


def flipped(path: Path, other: Path, at: float) -> None:
    data = bytearray(path.read_bytes())
    data[int(at * (len(data) - 1))] ^= 1
    path.write_bytes(data)


def cut(path: Path, other: Path, at: float) -> None:
    path.write_bytes(path.read_bytes()[: int(at * (path.stat().st_size - 1))])


def swapped(path: Path, other: Path, at: float) -> None:
    path.write_bytes(other.read_bytes())


@pytest.mark.parametrize("harm", [flipped, cut, swapped])
def test_a_damaged_state_is_passed_over_for_the_one_before_and_that_is_said(
    grown: Grown, harm: Callable[[Path, Path, float], None], caplog: pytest.LogCaptureFixture
) -> None:
    registry, then = grown
    *_, four, five = (registry.folder / name.object for name in listed(registry.objects))
    whole = five.read_bytes()
    for at in (0.0, 0.002, 0.01, 0.03, 0.5, 1.0):
        five.write_bytes(whole)
        harm(five, four, at)
        caplog.clear()
        assert again(registry) == (4, then[6]), at
        (line,) = caplog.messages
        assert five.name in line
        assert line.endswith("; the state before it is gone on from")
    five.write_bytes(whole)
    assert again(registry) == (5, then[6])
    five.unlink()
    assert again(registry) == (4, then[6])


def test_a_state_of_a_commit_that_lost_its_race_is_none_and_goes(
    grown: Grown, caplog: pytest.LogCaptureFixture
) -> None:
    registry, then = grown
    other, later = Name(6, 9, digest(b"another commit 6")), Name(7, 10, digest(b"commit 7, which comes"))
    for name in (other, later):
        write(registry, name, make_learner(PIPELINE).state())
    assert again(registry) == (5, then[6])
    assert "is of another commit 6 than the one that is there" in caplog.text
    assert [one.name for one in sweep(registry).goes if one.name.startswith("states/")] == [other.object]
    assert later in listed(registry.objects), "its commit may still come"


def test_states_go_by_their_ordinals_but_for_those_of_candidates_that_are_due(tmp_path: Path) -> None:
    """Ordinals follow on those of states that commits name."""
    registry, learner = Registry(tmp_path), make_learner(PIPELINE)
    first = registry.put(pack_state(learner.state()))
    for n in range(30):
        append(registry, empty(n, state=first if n < 10 else None, due=Due("schedule", 0) if n == 15 else None))
        if n >= 10:
            write(registry, Name(n, n - 9, digest(registry.read(COMMITS, n))), learner.state())
    sweep(registry)
    left = [name.number for name in listed(registry.objects)]
    assert left == sorted({15, *(n for n in range(10, 30) if stays(n, 29))})
    assert len(left) < 20


def test_a_state_is_that_of_its_commit_though_learning_goes_on_before_it_is_written(tmp_path: Path) -> None:
    registry, learner, held = Registry(tmp_path), make_learner(small.pipeline), Event()
    append(registry, empty(0))
    states = States(registry, learner, 0.0)
    for n in range(3):
        learner.learn(small.samples(21, start=21 * n))  # a micro-batch is half full: slopes, too
        then = pack(learner.state())
        held.clear()
        states._thread.submit(held.wait, WAIT_S)
        states.take(0, digest(registry.read(COMMITS, 0)))
        assert not states.due, "one is being written"
        learner.learn(small.samples(21, start=500))
        assert pack(learner.state()) != then
        held.set()
        states.settle()
        newest = listed(registry.objects)[-1]
        found = Kept(registry)._read(newest, newest.chain)
        assert found is not None
        assert pack(found) == then


def test_a_state_is_due_by_what_a_start_would_learn_again_and_by_what_one_costs(tmp_path: Path) -> None:
    states = States(Registry(tmp_path), make_learner(PIPELINE), 5.0)
    for learned_s, took_s, due in ((4.9, 0, False), (5.0, 0, True), (5.0, 0.2, False), (TIMES * 0.2, 0.2, True)):
        states._learned_s, states._took_s = learned_s, took_s
        assert states.due is due


def test_a_state_that_nobody_trusted_has_signed_is_passed_over(grown: Grown, caplog: pytest.LogCaptureFixture) -> None:
    registry, then = grown
    signed = open_registry(registry.folder)
    assert again(signed)[1] == then[6]
    assert "is not signed" in caplog.text


def test_a_state_of_an_older_release_is_learned_on_from_and_its_audit_holds(tmp_path: Path) -> None:
    registry, learner = Registry(tmp_path), make_learner(PIPELINE)
    append(registry, empty(0, state=registry.put(pack_state(learner.state()))))
    fold(learner, [learned(1)])
    later = registry.put(pack_state(learner.state()))
    append(registry, msgspec.structs.replace(learned(1), state=later))
    assert rebuild(make_learner(PIPELINE), registry, 1) == 1
    assert check(make_learner(PIPELINE), registry).equal
    (registry.folder / "blobs" / later).write_bytes(b"torn")
    assert rebuild(make_learner(PIPELINE), registry, 1) == 0


def test_tied_weights_are_copied_once_and_memory_is_used_again() -> None:
    weight, other, copies = torch.ones(3), torch.zeros(3), Copies()
    first = copies.of({"a": weight, "b": weight, "c": other, "still": other}, but={"still"})
    assert first["a"] is first["b"]
    assert first["still"] is other
    second = copies.of({"a": weight + 1, "b": weight, "c": torch.ones(2)})
    assert second["a"] is first["a"]
    assert [one.tolist() for one in second.values()] == [[2] * 3, [1] * 3, [1] * 2]
