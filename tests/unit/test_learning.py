"""The learner, its commits, and the intercept: state is a fold over commits, bit for bit."""

import msgspec
import pytest
import torch
from msgspec import Raw

from compressors.prune import prune_amount, sparsity
from learners import commits
from learners.commits import Commit, CommitError, Run
from learners.intercept import Intercept
from learners.online import Learner, Online
from learners.tasks import Binary, Classes
from streams.events import Sample
from tests import small


def same(a: Learner, b: Learner) -> bool:
    ours, theirs = a.state(), b.state()
    return ours.keys() == theirs.keys() and all(torch.equal(ours[k], theirs[k]) for k in ours)


def commit(learner: Learner, chosen: list[Sample], number: int = 1) -> Commit:
    """Have the learner learn the samples, and write down how."""
    batches = learner.batches(chosen)
    shadow = [row for batch in batches for row in learner.learn(batch).tolist()]
    return Commit(
        number=number,
        parent="",
        learned=learner.learned,
        samples=[Raw(msgspec.json.encode(s)) for s in chosen],
        runs=[Run(0, learner.learned - len(chosen) + 1, len(chosen))],
        batches=[len(b) for b in batches],
        shadow=shadow,
        intercept=learner.intercept.value,
        positions={"0": f"{learner.learned}-1"},
        watermark_ms=chosen[-1].prediction.t,
        latest_ms=chosen[-1].prediction.t,
        fingerprint=commits.fingerprint(),
    )


def test_folding_commits_gives_the_live_state_bit_for_bit_from_any_full_state() -> None:
    live, rebuilt, resumed = small.learner(), small.learner(), small.learner()
    for learner in (live, rebuilt):
        prune_amount(learner.shadow.model, 0.5)
    written = [commits.encode(commit(live, small.samples(150, seed=n, start=150 * n), n)) for n in range(3)]
    for n, data in enumerate(written):
        commits.fold(rebuilt, [commits.decode(data)])
        if n == 1:
            resumed.load(commits.unpack_state(commits.pack_state(rebuilt.state())))
    commits.fold(resumed, [commits.decode(written[2])])
    assert same(live, rebuilt)
    assert same(live, resumed)
    assert live.learned == 450


def test_other_micro_batches_give_other_bits() -> None:
    one, two = small.learner(), small.learner()
    chosen = small.samples(128)
    first = commit(one, chosen)
    commits.fold(two, [msgspec.structs.replace(first, batches=[100, 28])])
    assert not same(one, two)


def test_damaged_and_newer_commits_are_refused() -> None:
    data = commits.encode(commit(small.learner(), small.samples(3)))
    with pytest.raises(CommitError, match="not a commit"):
        commits.decode(data[:-5])
    newer = msgspec.structs.replace(commits.decode(data), format=commits.FORMAT + 1)
    with pytest.raises(CommitError, match="format"):
        commits.decode(commits.encode(newer))


def test_the_shadow_is_tested_before_it_is_trained() -> None:
    learner = small.learner()
    chosen = small.samples(64)
    encoder = learner._encoder
    before = learner.shadow.model(*encoder.inputs(chosen)).detach()
    answered = learner.learn(chosen)
    assert torch.equal(before, answered)
    assert not torch.equal(before, learner.shadow.model(*encoder.inputs(chosen)).detach())


def test_learning_lowers_the_loss_and_pruned_weights_stay_zero() -> None:
    learner = small.learner()
    prune_amount(learner.shadow.model, 0.5)
    learner.shadow.settle()
    task, losses = Binary(), []
    for n in range(700):
        chosen = small.samples(64, seed=n)
        target = torch.tensor([s.label for s in chosen])
        losses.append(float(task.losses(learner.learn(chosen), target).mean()))
    assert sum(losses[-10:]) < 0.85 * sum(losses[:10])
    for model in (learner.shadow.model, learner.shadow.mean):
        assert sparsity(model).overall == 0.5


@pytest.mark.parametrize("n", [0, 1, 128, 129, 500])
def test_micro_batches_hold_everything_once_and_none_is_too_large(n: int) -> None:
    chosen = small.samples(n)
    batches = small.learner().batches(chosen)
    assert [s for batch in batches for s in batch] == chosen
    assert all(0 < len(batch) <= 128 for batch in batches)


def test_the_intercept_follows_the_base_rate() -> None:
    live = Intercept(Binary(), 0.05)
    for i in range(2_000):
        live.follow((0.0,), float(i % 4 == 0))
    assert torch.sigmoid(torch.tensor(live.value[0])) == pytest.approx(0.25, abs=0.05)
    classes = Intercept(Classes(outputs=3), 0.05)
    for _ in range(200):
        classes.follow((0.0, 0.0, 0.0), 2)
    assert classes.value[2] > 1 > classes.value[0]


def test_settings_out_of_range_are_refused() -> None:
    with pytest.raises(ValueError, match="batch"):
        Online(batch=0)
    with pytest.raises(ValueError, match="average"):
        Online(average=1.0)
