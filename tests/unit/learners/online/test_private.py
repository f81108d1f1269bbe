"""Private updates: what one sample can do is bounded, ε is what others find, and equal logs make equal bits."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap

from compressors.recipe import Recipe
from deploy import contradictions
from deploy.config import Settings
from deploy.learning.bootstrap import bootstrap
from deploy.learning.candidates import distil, make_learner
from deploy.registry.kinds import CHAMPIONS
from deploy.registry.registry import Registry
from learners.evaluation.gate import Promotion
from learners.labels.settings import Trust
from learners.online.learner import Learner
from learners.online.networks.network import Network
from learners.online.networks.noise import add_noise
from learners.online.private import Private, epsilon
from learners.online.settings import Online
from learners.tasks.binary import Binary
from shadowstream import ConfigError, Intercept, Live, Standardize
from streams.events import Sample
from streams.join.policy import JoinPolicy
from tests import small

SPEC = Online(private=Private(noise=1.0), intercept_rate=0, batch=8, replay=50, history_passes=1)
PIPELINE = replace(small.pipeline, online=SPEC, live=None)
SECRET = b"for tests"


@pytest.mark.parametrize(
    ("noise", "delta", "steps", "prv", "rdp"),  # Opacus 1.6.0, PRVAccountant and RDPAccountant at sample_rate=1
    [
        (1.0, 1e-5, 1, 4.3874, 4.7285),
        (1.0, 1e-5, 2, 6.5833, 7.0774),
        (4.0, 1e-5, 2, 1.3666, 1.4781),
        (2.0, 1e-6, 6, 6.1751, 6.5784),
        (0.5, 1e-5, 2, 15.4668, 16.5129),
    ],
)
def test_epsilon_is_that_of_opacus(noise: float, delta: float, steps: int, prv: float, rdp: float) -> None:
    ours = epsilon(noise, delta, steps)
    assert prv - 0.02 < ours < prv  # its own error is 0.01
    assert ours < rdp


def test_epsilon_counts_both_networks_and_each_time_that_a_sample_is_learned() -> None:
    private = Private(noise=2.0, delta=1e-6)
    assert private.epsilon(rounds=0) == 0
    assert private.epsilon() == epsilon(2.0, 1e-6, 2)
    assert private.epsilon(rounds=3) == epsilon(2.0, 1e-6, 6) > private.epsilon()
    assert Private(noise=0.1, delta=1e-12).epsilon(rounds=9) < 2_000


def network(model: nn.Module | None = None, spec: Online = SPEC) -> Network:
    torch.manual_seed(0)
    return Network(model or small.net(), spec, SECRET)


def rows(count: int, size: float = 1.0) -> tuple[Tensor, Tensor]:
    chance = torch.Generator().manual_seed(1)
    return size * torch.randn(count, 4, generator=chance), torch.randint(2, (count,), generator=chance).float()


def slopes(of: Network) -> Tensor:
    return torch.cat([p.grad.flatten() for p in of.model.parameters() if p.grad is not None])


def test_slopes_are_the_cut_ones_of_each_sample_however_the_batch_comes() -> None:
    whole, parts = network(), network()
    inputs, target = rows(8, size=0.7)

    def loss(weights: dict[str, Tensor], x: Tensor, y: Tensor) -> Tensor:
        return Binary().losses(functional_call(whole.model, weights, (x[None],)), y[None]).sum()

    weights = {name: p.detach() for name, p in whole.model.named_parameters()}
    each = vmap(grad(loss), in_dims=(None, 0, 0))(weights, inputs, target)
    flat = torch.cat([one.flatten(1) for one in each.values()], dim=1)
    assert float(flat.norm(dim=1).max()) > 1 > float(flat.norm(dim=1).min())  # some are cut
    expected = (flat * (1 / flat.norm(dim=1, keepdim=True)).clamp(max=1)).sum(0) / 8
    whole.gather((inputs,), target, Binary(), 8)
    parts.gather((inputs[:3],), target[:3], Binary(), 8)
    parts.gather((inputs[3:],), target[3:], Binary(), 8)
    torch.testing.assert_close(slopes(whole), expected)
    assert torch.equal(slopes(whole), slopes(parts))


def test_without_a_bound_slopes_are_those_of_the_whole_batch_in_the_shadow_too() -> None:
    loud = replace(SPEC, private=Private(noise=1.0, clip=1e9))
    plain, one_by_one = (
        learner([], pipeline=replace(PIPELINE, online=online)).shadow for online in (replace(SPEC, private=None), loud)
    )
    inputs, target = rows(8)
    expected = plain.gather((inputs,), target, Binary(), 8)
    torch.testing.assert_close(one_by_one.gather((inputs,), target, Binary(), 8), expected)
    torch.testing.assert_close(slopes(one_by_one), slopes(plain))


@pytest.mark.parametrize("size", [1e-3, 1.0, 10.0])
def test_no_sample_moves_the_sum_by_more_than_the_clip(size: float) -> None:
    one = network()
    one.gather((torch.full((1, 4), size),), torch.ones(1), Binary(), 8)
    assert float(slopes(one).norm()) * 8 <= 1.0 + 1e-5
    loud = replace(SPEC, private=Private(noise=1.0, clip=1e9))
    other = network(spec=loud)
    other.gather((torch.full((1, 4), size),), torch.ones(1), Binary(), 8)
    assert size < 10 or float(slopes(other).norm()) * 8 > 1  # what the clip is for


def test_noise_is_as_large_as_promised_on_every_number_and_the_same_for_the_same_slopes_alone() -> None:
    def stepped(target: float, secret: bytes = SECRET) -> Tensor:
        one = Network(nn.Linear(4, 1), SPEC, secret)
        with torch.no_grad():
            [p.zero_() for p in one.model.parameters()]
        one.gather((torch.zeros(1, 4),), torch.tensor([target]), Binary(), 8)
        one.step(1, 8)
        return torch.cat([p.detach().flatten() for p in one.model.parameters()])

    assert torch.equal(stepped(1.0), stepped(1.0))
    weights = slice(4)  # whose own slopes are zero, whatever the target: they move by noise alone
    assert not torch.equal(stepped(1.0)[weights], stepped(0.0)[weights])
    assert not torch.equal(stepped(1.0)[weights], stepped(1.0, b"another")[weights])
    assert bool(stepped(1.0).ne(0).all())

    wide = nn.Parameter(torch.zeros(200_000))
    add_noise({"wide": wide}, 0.25, SECRET, 0.0)
    assert wide.grad is not None
    assert float(wide.grad.std()) == pytest.approx(0.25, rel=0.01)
    before = wide.grad.clone()
    wide.grad = None
    add_noise({"wide": wide}, 0.25, SECRET, 1.0)
    assert wide.grad is not None
    assert abs(float(torch.corrcoef(torch.stack([before, wide.grad]))[0, 1])) < 0.02


def learner(samples: Sequence[Sample], secret: bytes = SECRET, pipeline: Any = PIPELINE) -> Learner:
    made = Learner(
        pipeline.model, pipeline.task, pipeline.encoder(), pipeline.recipe, pipeline.online, 0, secret=secret
    )
    for part in made.batches(samples):
        made.learn(part)
    return made


def bits(state: dict[str, Tensor]) -> list[tuple[str, bytes]]:
    return [(name, tensor.contiguous().numpy().tobytes()) for name, tensor in state.items()]


def test_equal_logs_make_equal_bits_in_parts_too_and_another_secret_others() -> None:
    samples = small.samples(40)
    one, again = learner(samples), learner(samples[:19])
    again.learn(samples[19:24])
    resumed = learner([])
    resumed.load(again.state())
    resumed.learn(samples[24:])
    assert bits(resumed.state()) == bits(one.state())
    assert bits(learner(samples, b"another").state()) != bits(one.state())


def test_private_updates_need_a_secret() -> None:
    with pytest.raises(ValueError, match="private updates need a secret: make the learner with its registry"):
        learner(small.samples(8), secret=b"")


def test_it_learns() -> None:
    samples = small.samples(3_000)
    spec = replace(SPEC, batch=64, learning_rate=1e-2, half_life=500)
    made = learner(samples, pipeline=replace(PIPELINE, online=spec))
    data = PIPELINE.encoder().data(samples[-1_000:], Binary())
    inputs, target = data.batch(torch.arange(1_000))
    with torch.no_grad():
        for mean in (made.teacher.mean, made.shadow.mean):
            assert float(Binary().losses(mean(*inputs), target).mean()) < 0.5  # 0.69 by chance
    assert made.intercept.value == (0.0,)


def test_a_candidate_holds_nothing_of_the_feed_but_what_the_networks_learned(tmp_path: Path) -> None:
    registry = Registry(tmp_path)
    assert bootstrap(PIPELINE, registry)
    (first,) = registry.records(CHAMPIONS)
    assert first.privacy is not None
    assert (first.privacy.epsilon, first.privacy.delta) == (0.0, 1e-5)
    assert (tmp_path / "secret").stat().st_mode & 0o777 == 0o600
    made = make_learner(PIPELINE, registry)
    made.learn(small.samples(16))
    one, _, _ = distil(PIPELINE, made, small.samples(16))
    other, _, _ = distil(PIPELINE, made, small.samples(40)[20:])
    assert one.artifact == other.artifact
    assert make_learner(PIPELINE, registry)._secret == made._secret != b""


def told(private: Private | None) -> float:
    """Return how often the best attacker says rightly whether one wild sample was learned, in 150 pairs of trials."""
    spec = replace(SPEC, private=private, history_passes=0)
    inputs, target = rows(8)
    inputs[0], target[0] = 5.0, 1.0
    shifts: dict[bool, list[float]] = {True: [], False: []}
    for trial in range(150):
        for there in shifts:
            torch.manual_seed(0)
            one = Network(nn.Linear(4, 1), spec, b"%d %d" % (trial, there))
            before = [p.detach().clone() for p in one.model.parameters()]
            one.gather((inputs[not there :],), target[not there :], Binary(), 8)
            one.step(8, 8)  # how many samples there were is no secret
            moved = [p.detach() - b for p, b in zip(one.model.parameters(), before, strict=True)]
            shifts[there].append(float(moved[0].sum() + moved[1].sum()))
    cuts = sorted(shifts[True] + shifts[False])
    return max((sum(s >= c for s in shifts[True]) + sum(s < c for s in shifts[False])) / 300 for c in cuts)


def test_whether_a_sample_was_learned_can_be_told_from_the_weights_only_without_noise() -> None:
    assert told(None) == 1.0
    assert told(Private(noise=4.0)) < 0.63  # 0.55, and what the best of all cuts finds in chance


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: Private(noise=0.01), r"Private\.noise must be at least 0\.1"),
        (lambda: Private(noise=1, delta=1.0), r"Private\.delta must be above 0 and below 1"),
        (lambda: Online(private=Private(noise=1)), "the live intercept moves by each outcome; set intercept_rate=0"),
        (lambda: replace(SPEC, refresh_every=100), "leave refresh_every at 0"),
        (lambda: replace(PIPELINE, live=Live()), r"set live=Intercept\(\)"),
        (lambda: replace(PIPELINE, trust=Trust()), "leave trust out"),
        (lambda: replace(PIPELINE, promotion=Promotion(policy="continuous")), "what every sync tells of a sample"),
        (lambda: replace(PIPELINE, history=None), r"Online.private needs Pipeline\(history=\.\.\.\)"),
        (lambda: network(nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8))), "1 is a BatchNorm1d, which mixes"),
        (lambda: contradictions.check(
            Settings(join=JoinPolicy(absent="negative", late="correct", keep_s=10)), "a", learns=True,
            private=True,
        ), "which Online.private does not count"),
    ],
)  # fmt: skip
def test_what_would_tell_what_is_hidden_is_refused(make: Any, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        make()


def test_transforms_stay_as_the_history_made_them() -> None:
    def model() -> nn.Module:
        return nn.Sequential(Standardize(4), small.net())

    made = learner([], pipeline=replace(PIPELINE, model=model))
    before = {name: buffer.clone() for name, buffer in made.teacher.model[0].named_buffers()}  # type: ignore[index]
    made.learn(small.samples(8))
    after = dict(made.teacher.model[0].named_buffers())  # type: ignore[index]
    assert before
    assert all(torch.equal(after[name], buffer) for name, buffer in before.items())


def test_live_experts_are_left_out_by_themselves() -> None:
    assert PIPELINE.live == Intercept()


def test_a_layer_that_keeps_what_it_saw_is_refused_by_name() -> None:
    static = replace(PIPELINE, recipe=Recipe.parse("quantize(int8, inputs='static') -> distill"))
    with pytest.raises(ConfigError, match=r"the model's forward changes 0\.input_range"):
        learner(small.samples(8), pipeline=static)
