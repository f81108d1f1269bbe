"""Distillation: the loss by hand, the trust by hand, and what becomes of a student."""

import copy
import math

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from compressors.distill import Data, answers, blend, distill, trust
from compressors.form import layers, training_form
from compressors.prune import prune_amount, sparsity
from compressors.recipe import Distill, Prune, Recipe

torch.set_num_threads(1)  # these nets are too small to share among threads, which would only wait for each other


class Squared:
    """Regression on the first output."""

    def losses(self, output: Tensor, label: Tensor) -> Tensor:
        return (output[:, 0] - label) ** 2

    def soft_losses(self, teacher: Tensor, student: Tensor, temperature: float) -> Tensor:
        return ((teacher - student) ** 2).sum(1)


class Classes:
    """Cross-entropy, and Hinton's softened KL."""

    def losses(self, output: Tensor, label: Tensor) -> Tensor:
        return F.cross_entropy(output, label, reduction="none")

    def soft_losses(self, teacher: Tensor, student: Tensor, temperature: float) -> Tensor:
        target = F.softmax(teacher / temperature, 1)
        return (target * (target.log() - F.log_softmax(student / temperature, 1))).sum(1)


def test_the_loss_is_hintons() -> None:
    """KL(softmax([1,0]) || softmax([0,0])) with T = 2 on logits [2,0] and [0,0], and -log 1/2, by hand."""
    p = 1 / (1 + math.exp(-1))
    kl = p * math.log(p / 0.5) + (1 - p) * math.log((1 - p) / 0.5)
    teacher, student = torch.tensor([[2.0, 0.0]] * 3), torch.zeros(3, 2)
    share = torch.tensor([0.0, 0.25, 1.0])
    got = blend(Classes(), teacher, student, torch.tensor([0, 1, 0]), share, temperature=2.0)
    hard = math.log(2)
    assert got.tolist() == pytest.approx([hard, 0.25 * 4 * kl + 0.75 * hard, 4 * kl], rel=1e-5)


def test_trust_is_equal_within_a_block_and_clipped() -> None:
    teacher, student = torch.zeros(6_500), torch.zeros(6_500)
    teacher[:2_166] += 0.02  # worse by 0.02 of 0.05
    teacher[3_000] += 2_166 * 0.01  # one bad sample is spread over its block
    teacher[-2_000:] += 9
    got = trust(teacher, student)
    assert torch.unique_consecutive(got).tolist() == pytest.approx([0.6, 0.8, 0.0], abs=2e-3)
    assert trust(student, teacher).tolist() == [1.0] * 6_500
    assert len(trust(torch.zeros(3), torch.zeros(3))) == 3


def truth(x: Tensor) -> Tensor:
    return x[:, 0] + 2 * x[:, 1].abs()


def data(n: int = 2_000) -> Data:
    """Labels are the truth and noise."""
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(n, 8, generator=generator)
    return Data((x,), truth(x) + torch.randn(n, generator=generator))


def network() -> nn.Sequential:
    torch.manual_seed(5)
    return nn.Sequential(nn.Linear(8, 32), nn.ReLU(), nn.Dropout(0.1), nn.Linear(32, 1))


class Truth(nn.Module):
    """A teacher that knows."""

    def forward(self, x: Tensor) -> Tensor:
        return truth(x)[:, None]


RECIPE = Recipe(prune=Prune(amount=0.6), distill=Distill(batch=64, passes=3, learning_rate=5e-3))


def run(teacher: nn.Module, recipe: Recipe = RECIPE, seed: int = 0) -> nn.Module:
    return distill(training_form(network(), recipe), teacher, data(), Squared(), recipe, seed)


def error(model: nn.Module) -> float:
    (x,) = data().inputs
    return float((answers(model, (x,))[:, 0] - truth(x)).square().mean())


def test_a_student_learns_and_ends_at_the_recipes_sparsity() -> None:
    student = run(Truth())
    assert not student.training
    assert sparsity(student).overall == pytest.approx(0.6, abs=2e-3)
    assert error(student) < 0.3 * error(network())


@pytest.mark.parametrize(("ramp", "passes"), [(0.0, 1), (1.0, 1), (1.0, 2), (0.01, 1)])
def test_any_ramp_ends_at_the_final_sparsity(ramp: float, passes: int) -> None:
    recipe = Recipe(prune=Prune(amount=0.9, ramp=ramp), distill=Distill(batch=1_000, passes=passes))
    assert sparsity(run(Truth(), recipe)).overall == pytest.approx(0.9, abs=2e-3)


def test_masks_that_are_sparse_enough_stay() -> None:
    student = training_form(network(), RECIPE)
    prune_amount(student, 0.7)
    masks = {name: layer.mask.clone() for name, layer in layers(student).items()}
    distill(student, Truth(), data(), Squared(), RECIPE, 0)
    assert all(torch.equal(layer.mask, masks[name]) for name, layer in layers(student).items())


def test_the_same_seed_gives_the_same_bits_and_leaves_the_generator() -> None:
    student = training_form(network(), RECIPE)
    expected = torch.get_rng_state()
    distill(student, Truth(), data(), Squared(), RECIPE, 3)
    assert torch.equal(torch.get_rng_state(), expected)
    again, other = run(Truth(), seed=3), run(Truth(), seed=4)
    x = data().inputs[0]
    assert torch.equal(again(x), student(x))
    assert not torch.equal(other(x), student(x))


class Liar(Truth):
    """A teacher that says the opposite."""

    def forward(self, x: Tensor) -> Tensor:
        return -super().forward(x)


def test_a_teacher_worse_than_the_student_is_not_believed() -> None:
    """With trust at zero, alpha makes no difference at all."""
    alone = Recipe(prune=RECIPE.prune, distill=Distill(batch=64, passes=3, learning_rate=5e-3, alpha=0.0))
    x = data().inputs[0]
    assert torch.equal(run(Liar())(x), run(Liar(), alone)(x))
    assert not torch.equal(run(Truth())(x), run(Truth(), alone)(x))


def test_the_teacher_is_left_as_it_was() -> None:
    teacher = network().train()
    before = copy.deepcopy(teacher.state_dict())
    run(teacher)
    assert teacher.training
    assert all(torch.equal(value, before[name]) for name, value in teacher.state_dict().items())


class Broken(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return torch.full((len(x), 1), math.nan)


def test_what_cannot_be_distilled_is_refused() -> None:
    with pytest.raises(ValueError, match="teacher gives answers that are not finite"):
        run(Broken())
    student = training_form(network(), RECIPE)
    with pytest.raises(ValueError, match="at least one sample"):
        distill(student, Truth(), Data((torch.zeros(0, 8),), torch.zeros(0)), Squared(), RECIPE, 0)
    labels = data().labels.clone()
    labels[17] = math.inf
    with pytest.raises(ValueError, match="diverged at step"):
        distill(student, Truth(), Data(data().inputs, labels), Squared(), RECIPE, 0)
    with pytest.raises(ValueError, match="training_form"):
        distill(network(), Truth(), data(), Squared(), RECIPE, 0)
