"""The learner, its commits, and the intercept: learning the commits again makes the same state, bit for bit."""

import copy
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
import torch
from msgspec import Raw
from torch import Tensor, nn

from compressors.form import weights
from compressors.pruning.prune import prune_amount, sparsity
from compressors.recipe import Prune, Quantize, Recipe
from learners.commits import commit as commits
from learners.commits.commit import Commit, Run
from learners.commits.state import fingerprint, fold, pack_state, unpack_state
from learners.online.batches import Encoder
from learners.online.intercept import Intercept
from learners.online.learner import Learner
from learners.online.settings import Online
from learners.tasks.binary import Binary
from learners.tasks.classes import Classes
from streams.errors import CommitError, ConfigError
from streams.events import Sample
from tests import small

WIDE = Online(batch_s=1e9)  # no batch ends early


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
        fingerprint=fingerprint(),
    )


def test_folding_commits_gives_the_live_state_bit_for_bit_from_any_full_state() -> None:
    live, rebuilt, resumed = small.learner(), small.learner(), small.learner()
    for learner in (live, rebuilt):
        prune_amount(learner.shadow.model, 0.5)
    written = [commits.encode(commit(live, small.samples(150, seed=n, start=150 * n), n)) for n in range(3)]
    for n, data in enumerate(written):
        fold(rebuilt, [commits.decode(data)])
        if n == 1:
            resumed.load(unpack_state(pack_state(rebuilt.state())))
    fold(resumed, [commits.decode(written[2])])
    assert same(live, rebuilt)
    assert same(live, resumed)
    assert live.learned == 450


def alike(a: Learner, b: Learner) -> bool:
    ours, theirs = a.state(), b.state()
    return ours.keys() == theirs.keys() and all(
        torch.allclose(ours[k].double(), theirs[k].double(), rtol=1e-4, atol=1e-7) for k in ours
    )


def test_whole_batches_are_learned_with_the_same_bits_however_they_come_and_parts_alike() -> None:
    chosen = small.samples(200)
    whole, parts = small.learner(online=WIDE), small.learner(online=WIDE)
    first = commit(whole, chosen)
    fold(parts, [msgspec.structs.replace(first, batches=[64, 96, 40])])
    assert same(whole, parts)
    for size in (1, 5, 42, 100):
        other = small.learner(online=WIDE)
        fold(other, [msgspec.structs.replace(first, batches=[size] * -(-200 // size))])
        assert alike(whole, other)
        assert other.gathered == 200 % 32


def test_damaged_commits_and_those_of_another_format_are_refused() -> None:
    data = commits.encode(commit(small.learner(), small.samples(3)))
    with pytest.raises(CommitError, match="not a commit"):
        commits.decode(data[:-5])
    for other in (commits.FORMAT - 1, commits.FORMAT + 1):
        made = msgspec.structs.replace(commits.decode(data), format=other)
        with pytest.raises(CommitError, match=f"has format {other}; this version reads {commits.FORMAT}: go on with"):
            commits.decode(commits.encode(made))


def test_the_shadow_is_tested_before_it_is_trained() -> None:
    learner = small.learner(online=WIDE)
    chosen = small.samples(32)
    encoder = learner._encoder
    before = learner.shadow.model(*encoder.inputs(chosen)).detach()
    answered = learner.learn(chosen)
    assert torch.equal(before, answered)
    assert not torch.equal(before, learner.shadow.model(*encoder.inputs(chosen)).detach())


def test_learning_lowers_the_loss_and_pruned_weights_stay_zero() -> None:
    learner = small.learner(online=WIDE)
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


class Tied(nn.Module):
    """Two layers that share a weight."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.last = nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(4, 1)
        self.second.weight = self.first.weight

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.last(torch.tanh(self.second(torch.tanh(self.first(x)))))
        return out


RECIPE = Recipe(Prune(amount=0.5), Quantize("int8"))


def refreshing(model: Callable[[], nn.Module] = small.net, recipe: Recipe = RECIPE, every: int = 100) -> Learner:
    """Make a learner whose shadow is half pruned, and refreshed."""
    online = Online(refresh_every=every, refresh_share=0.3, batch_s=1e9)
    made = Learner(model, Binary(), Encoder(small.Point, small.encode), recipe, online, seed=0)
    prune_amount(made.shadow.model, 0.5)
    made.shadow.settle()
    return made


def moments(learner: Learner, weight: Tensor) -> dict[str, Tensor]:
    at = next(i for i, own in enumerate(learner.shadow.model.parameters()) if own is weight)
    state = learner.shadow.state()
    return {name: state[f"optimizer.{at}.{name}"] for name in ("exp_avg", "exp_avg_sq")}


def test_masks_are_refreshed_when_a_multiple_is_crossed_and_what_grows_starts_as_if_new() -> None:
    learner, plain = refreshing(), refreshing(every=0)
    masks = copy.deepcopy([w.mask for w in weights(learner.shadow.model).values()])
    for n in range(2):
        assert torch.equal(learner.learn(small.samples(64, seed=n)), plain.learn(small.samples(64, seed=n)))
        for one in (learner, plain) if n == 0 else ():
            for weight in weights(one.shadow.model).values():
                for moment in moments(one, weight.value).values():
                    moment += 0.01  # as if masked weights had once learned
    for (name, ours), mask in zip(weights(learner.shadow.model).items(), masks, strict=True):
        mean, old, old_mean = (weights(m)[name] for m in (learner.shadow.mean, plain.shadow.model, plain.shadow.mean))
        grown = ours.mask > mask
        assert grown.any()
        assert torch.equal(mean.mask, ours.mask)
        assert torch.equal(ours.value, old.value.masked_fill(grown, 0))
        assert torch.equal(mean.value, old_mean.value.masked_fill(grown, 0))
        before = moments(plain, old.value)
        for kind, moment in moments(learner, ours.value).items():
            assert torch.equal(moment, before[kind].masked_fill(grown, 0))
    kept = copy.deepcopy([w.mask for w in weights(learner.shadow.model).values()])
    learner.learn(small.samples(64, seed=2))
    assert all(torch.equal(w.mask, k) for w, k in zip(weights(learner.shadow.model).values(), kept, strict=True))
    learner.learn(small.samples(64, seed=3))
    assert any(not torch.equal(w.mask, k) for w, k in zip(weights(learner.shadow.model).values(), kept, strict=True))


def test_a_tied_weight_keeps_one_mask_and_the_state_holds_it() -> None:
    learner, again = refreshing(Tied), refreshing(Tied)
    before = weights(learner.shadow.model)["first.weight"].mask.clone()
    learner.learn(small.samples(128))
    again.load(unpack_state(pack_state(learner.state())))
    for one in (learner, again):
        for model in (one.shadow.model, one.shadow.mean):
            assert model.get_buffer("first.mask") is model.get_buffer("second.mask")
            assert not torch.equal(model.get_buffer("first.mask"), before)
    assert torch.equal(learner.learn(small.samples(128, seed=1)), again.learn(small.samples(128, seed=1)))
    assert same(learner, again)


def test_a_refresh_of_what_has_no_masks_is_refused() -> None:
    with pytest.raises(ValueError, match=r"refresh_every is 100, but the recipe 'quantize\(int8\)' prunes no weight"):
        refreshing(recipe=Recipe(Quantize("int8")))
    with pytest.raises(ConfigError, match="no parameter of the model learns"):
        refreshing(lambda: small.net().requires_grad_(False))


@pytest.mark.parametrize("n", [0, 1, 128, 129, 500])
def test_micro_batches_hold_everything_once_and_none_is_too_large(n: int) -> None:
    chosen = small.samples(n)
    learner = small.learner(online=WIDE)
    learner.learn(small.samples(10))
    batches = learner.batches(chosen)
    assert [s for batch in batches for s in batch] == chosen
    assert all(0 < len(batch) <= 32 for batch in batches)
    assert len(batches[0]) == min(n, 22) if n else batches == []


def test_the_intercept_follows_the_base_rate() -> None:
    live = Intercept(Binary(), 0.05)
    live.follow([(0.0,)] * 2_000, [float(i % 4 == 0) for i in range(2_000)], [1.0] * 2_000)
    assert torch.sigmoid(torch.tensor(live.value[0])) == pytest.approx(0.25, abs=0.05)
    classes = Intercept(Classes(3), 0.05)
    classes.follow([(0.0, 0.0, 0.0)] * 200, [2] * 200, [1.0] * 200)
    assert classes.value[2] > 1 > classes.value[0]


def test_settings_out_of_range_are_refused() -> None:
    wrong: list[tuple[dict[str, Any], str]] = [
        ({"batch": 0}, "Online.batch must be at least 1 and at most 2,147,483,647, got 0"),
        ({"replay": 10**30}, "Online.replay must be at least 1"),
        ({"history_passes": -1}, "Online.history_passes must be at least 0"),
        ({"half_life": 0.0}, "Online.half_life must be above 0, got 0.0"),
        ({"half_life": 10**400}, "Online.half_life must be a finite number"),
        ({"batch_s": -1.0}, "Online.batch_s must be above 0 and below"),
        ({"batch_s": 1e300}, "Online.batch_s must be above 0 and below"),
        ({"clip": 0.0}, "Online.clip must be above 0"),
        ({"learning_rate": 1.0}, "Online.learning_rate must be above 0 and below 1, got 1.0"),
        ({"weight_decay": -0.1}, "Online.weight_decay must be at least 0"),
        ({"intercept_rate": -0.1}, "Online.intercept_rate must be at least 0"),
        ({"refresh_every": -1}, "Online.refresh_every must be at least 0"),
        ({"refresh_share": 0.0}, "Online.refresh_share must be above 0 and at most 1, got 0.0"),
        ({"refresh_share": 1.1}, "Online.refresh_share must be above 0 and at most 1, got 1.1"),
    ]
    for parts, said in wrong:
        with pytest.raises(ConfigError) as raised:
            Online(**parts)
        assert said in str(raised.value)
