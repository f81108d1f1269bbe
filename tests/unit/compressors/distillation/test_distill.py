"""What a teacher adds: the losses and the trust, by hand."""

import math

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from compressors.answers import answers
from compressors.data import Data
from compressors.distillation.distill import blend, decoupled, trust
from compressors.recipe import Distill

torch.set_num_threads(1)  # these nets are too small to share among threads, which would only wait for each other


class Classes:
    """Cross-entropy, and Hinton's softened KL."""

    def losses(self, output: Tensor, target: Tensor) -> Tensor:
        return F.cross_entropy(output, target, reduction="none")

    def soft_losses(self, teacher: Tensor, student: Tensor, temperature: float) -> Tensor:
        target = F.softmax(teacher / temperature, 1)
        return (target * (target.log() - F.log_softmax(student / temperature, 1))).sum(1)


def test_the_loss_is_hintons() -> None:
    """KL(softmax([1,0]) || softmax([0,0])) with T = 2 on logits [2,0] and [0,0], and -log 1/2, by hand."""
    p = 1 / (1 + math.exp(-1))
    kl = p * math.log(p / 0.5) + (1 - p) * math.log((1 - p) / 0.5)
    teacher, student = torch.tensor([[2.0, 0.0]] * 3), torch.zeros(3, 2)
    share = torch.tensor([0.0, 0.25, 1.0])
    got = blend(Classes(), teacher, student, torch.tensor([0, 1, 0]), share, Distill(temperature=2.0))
    hard = math.log(2)
    assert got.tolist() == pytest.approx([hard, 0.25 * 4 * kl + 0.75 * hard, 4 * kl], rel=1e-5)


def split_kl(teacher: list[float], student: list[float], label: int) -> tuple[float, float]:
    """DKD's two parts in plain numbers, from probabilities: the label against all others, and among the others."""

    def parts(logits: list[float]) -> tuple[list[float], list[float]]:
        p = [math.exp(z) / sum(map(math.exp, logits)) for z in logits]
        others = [q for k, q in enumerate(p) if k != label]
        return [p[label], sum(others)], [q / sum(others) for q in others]

    def kl(p: list[float], q: list[float]) -> float:
        return sum(a * math.log(a / b) for a, b in zip(p, q, strict=True))

    (split, among), (mine, among_mine) = parts(teacher), parts(student)
    return kl(split, mine), kl(among, among_mine)


ROWS = [([2.0, -1.0, 0.5, 3.0], [0.1, 0.2, -0.4, 1.0], 0), ([0.0, 4.0, 1.0, -2.0], [1.0, 1.0, 2.0, 0.0], 3)]


def test_decoupled_distillation_is_the_papers() -> None:
    teacher, student = (torch.tensor([row[i] for row in ROWS]) for i in (0, 1))
    got = decoupled(teacher, student, torch.tensor([0, 3]), temperature=2.0)
    halves = [split_kl([z / 2 for z in t], [z / 2 for z in s], label) for t, s, label in ROWS]
    assert got.tolist() == pytest.approx([target + 8 * others for target, others in halves], rel=1e-5)


def test_decoupled_distillation_is_hintons_reweighted() -> None:
    """KL = target part + (1 - teacher's p of the label) * others' part: how the paper takes it apart."""
    torch.manual_seed(0)
    teacher, student, label = 3 * torch.randn(20, 5), torch.randn(20, 5), torch.arange(20) % 5
    p, q = (F.softmax(logits, 1).gather(1, label[:, None])[:, 0] for logits in (teacher, student))
    target = p * (p / q).log() + (1 - p) * ((1 - p) / (1 - q)).log()
    others = (decoupled(teacher, student, label, 1.0) - target) / 8
    torch.testing.assert_close(target + (1 - p) * others, Classes().soft_losses(teacher, student, 1.0))


def test_decoupled_distillation_has_its_place_in_the_loss() -> None:
    teacher, student = (torch.tensor([row[i] for row in ROWS]) for i in (0, 1))
    label, share = torch.tensor([0, 3]), torch.tensor([0.5, 1.0])
    got = blend(Classes(), teacher, student, label, share, Distill(temperature=2.0, decoupled=True))
    hard = F.cross_entropy(student, label, reduction="none")
    torch.testing.assert_close(got, 4 * share * decoupled(teacher, student, label, 2.0) + (1 - share) * hard)


def test_decoupled_distillation_survives_a_teacher_that_is_sure() -> None:
    student = torch.zeros(2, 3, requires_grad=True)
    teacher, label = torch.tensor([[900.0, 0.0, 0.0], [0.0, 900.0, 0.0]]), torch.tensor([0, 0])
    loss = decoupled(teacher, student, label, 1.0)
    (slope,) = torch.autograd.grad(loss.sum(), student)
    assert loss.isfinite().all()
    assert slope.isfinite().all()


def test_of_two_classes_the_others_are_one_and_nothing_is_decoupled() -> None:
    teacher, student, label = torch.tensor([[2.0, 0.0]]), torch.tensor([[0.0, 1.0]]), torch.tensor([1])
    torch.testing.assert_close(decoupled(teacher, student, label, 1.0), Classes().soft_losses(teacher, student, 1.0))


@pytest.mark.parametrize(
    ("answers", "labels"), [(torch.zeros(3, 1), torch.zeros(3)), (torch.zeros(3, 2), torch.zeros(3, 2))]
)
def test_what_is_not_one_class_of_several_cannot_be_decoupled(answers: Tensor, labels: Tensor) -> None:
    with pytest.raises(ValueError, match="leave decoupled off"):
        decoupled(answers, answers, labels, 1.0)


def test_trust_is_equal_within_a_block_and_clipped() -> None:
    teacher, student = torch.zeros(6_500), torch.zeros(6_500)
    teacher[:2_166] += 0.02  # worse by 0.02 of 0.05
    teacher[3_000] += 2_166 * 0.01  # one bad sample is spread over its block
    teacher[-2_000:] += 9
    got = trust(teacher, student)
    assert torch.unique_consecutive(got).tolist() == pytest.approx([0.6, 0.8, 0.0], abs=2e-3)
    assert trust(student, teacher).tolist() == [1.0] * 6_500
    assert len(trust(torch.zeros(3), torch.zeros(3))) == 3


def test_answers_are_given_without_learning_and_the_mode_is_put_back() -> None:
    model = nn.Sequential(nn.Linear(2, 3), nn.Dropout(0.5)).train()
    x = torch.randn(9_000, 2)
    got = answers(model, (x,))
    assert model.training
    assert not got.requires_grad
    torch.testing.assert_close(got, model[0](x).detach())


def test_some_rows_of_the_data() -> None:
    inputs, labels = Data((torch.arange(4), torch.eye(4)), torch.arange(4) * 10).at(torch.tensor([2, 0]))
    assert inputs[0].tolist() == [2, 0]
    assert inputs[1].tolist() == [[0, 0, 1, 0], [1, 0, 0, 0]]
    assert labels.tolist() == [20, 0]
