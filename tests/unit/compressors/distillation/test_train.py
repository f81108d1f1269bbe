"""What becomes of a student: against a plain loop, at the ramp's end, with and without a teacher."""

import copy
import math
from collections.abc import Sequence
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from compressors.answers import answers
from compressors.data import Data
from compressors.distillation.distill import trust
from compressors.distillation.train import rate, train
from compressors.form import training_form, weights
from compressors.pruning.prune import cubic, prune_amount, sparsity
from compressors.recipe import Distill, Prune, Quantize, Recipe, Retrain
from tests.unit.compressors.problems import Squared, kink, kink_rows

torch.set_num_threads(1)  # these nets are too small to share among threads, which would only wait for each other

PRUNE = Prune(amount=0.6)
RETRAIN = Retrain(batch=64, passes=3, learning_rate=5e-3)
DISTILL = Distill(batch=64, passes=3, learning_rate=5e-3)


def network() -> nn.Sequential:
    torch.manual_seed(5)
    return nn.Sequential(nn.Linear(8, 32), nn.ReLU(), nn.Dropout(0.1), nn.Linear(32, 1))


class Truth(nn.Module):
    """A teacher that knows."""

    def forward(self, x: Tensor) -> Tensor:
        return kink(x)[:, None]


class Liar(Truth):
    """A teacher that says the opposite."""

    def forward(self, x: Tensor) -> Tensor:
        return -super().forward(x)


def form() -> nn.Module:
    return training_form(network(), Recipe(PRUNE, Quantize("int8")))


def run(
    step: Retrain = DISTILL, teacher: nn.Module | None = None, ramps: Sequence[Prune] = (PRUNE,), seed: int = 0
) -> nn.Module:
    return train(form(), kink_rows(), Squared(), step, seed, teacher=teacher, ramps=ramps)


def error(model: nn.Module) -> float:
    (x,) = kink_rows().inputs
    return float((answers(model, (x,))[:, 0] - kink(x)).square().mean())


def plain_loop(student: nn.Module, teacher: nn.Module | None, amount: float, seed: int) -> nn.Module:
    """The method written down plainly: three passes of 32 batches, the sparsity due every 16 steps of the first 48."""
    (x,), y = kink_rows()
    share = torch.zeros(len(y))
    target = torch.zeros(len(y), 1)
    if teacher is not None:
        target = answers(teacher, (x,))
        share = 0.5 * trust((target[:, 0] - y) ** 2, (answers(student, (x,))[:, 0] - y) ** 2)
    torch.manual_seed(seed)
    batches = [rows for _ in range(3) for rows in torch.split(torch.randperm(len(y)), 64)]
    optimizer = torch.optim.AdamW(student.parameters(), lr=5e-3, fused=True)
    student.train()
    for step, rows in enumerate(batches):
        if step in (0, 16, 32, 48):
            prune_amount(student, cubic(0, amount, step, 48))
        output = student(x[rows])
        soft, hard = (output[:, 0] - target[rows, 0]) ** 2, (output[:, 0] - y[rows]) ** 2
        loss = (share[rows] * soft + (1 - share[rows]) * hard).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return student.eval()


@pytest.mark.parametrize("teacher", [None, Truth()])
def test_training_is_the_plain_loop_to_the_bit(teacher: nn.Module | None) -> None:
    expected = plain_loop(form(), teacher, 0.6, seed=3)
    got = run(DISTILL if teacher else RETRAIN, teacher, seed=3)
    for (name, ours), theirs in zip(got.state_dict().items(), expected.state_dict().values(), strict=True):
        assert torch.equal(ours, theirs), name


def test_a_student_learns_and_ends_at_the_amount() -> None:
    student = run(teacher=Truth())
    assert not student.training
    assert sparsity(student).overall == pytest.approx(0.6, abs=2e-3)
    assert error(student) < 0.3 * error(network())


def test_real_labels_alone_teach_too_and_a_teacher_is_not_asked() -> None:
    student = run(RETRAIN)
    assert error(student) < 0.5 * error(network())
    assert torch.equal(run(RETRAIN, teacher=Broken())(kink_rows().inputs[0]), student(kink_rows().inputs[0]))


@pytest.mark.parametrize(("ramp", "passes"), [(0.0, 1), (1.0, 1), (1.0, 2), (0.01, 1)])
def test_any_ramp_ends_at_the_final_sparsity(ramp: float, passes: int) -> None:
    student = run(Retrain(batch=1_000, passes=passes), ramps=[Prune(amount=0.9, ramp=ramp)])
    assert sparsity(student).overall == pytest.approx(0.9, abs=2e-3)


def test_a_ramp_within_layers_prunes_each_layer_alike() -> None:
    student = run(Retrain(batch=200, passes=1), ramps=[Prune(amount=0.75, scope="layer")])
    assert list(sparsity(student).layers.values()) == pytest.approx([0.75, 0.75], abs=1e-3)


def test_masks_that_are_sparse_enough_stay() -> None:
    student = form()
    prune_amount(student, 0.7)
    masks = {name: layer.mask.clone() for name, layer in weights(student).items()}
    train(student, kink_rows(), Squared(), DISTILL, 0, teacher=Truth(), ramps=[PRUNE])
    assert all(torch.equal(layer.mask, masks[name]) for name, layer in weights(student).items())


def test_without_a_ramp_any_model_is_trained_as_it_is() -> None:
    student = train(network(), kink_rows(), Squared(), DISTILL, 0, teacher=Truth())
    assert error(student) < 0.3 * error(network())
    pruned = form()
    prune_amount(pruned, 0.5)
    assert sparsity(train(pruned, kink_rows(), Squared(), RETRAIN, 0)).overall == pytest.approx(0.5, abs=2e-3)


def test_the_same_seed_gives_the_same_bits_and_leaves_the_generator() -> None:
    student = form()
    expected = torch.get_rng_state()
    train(student, kink_rows(), Squared(), DISTILL, 3, teacher=Truth(), ramps=[PRUNE])
    assert torch.equal(torch.get_rng_state(), expected)
    again, other = run(teacher=Truth(), seed=3), run(teacher=Truth(), seed=4)
    x = kink_rows().inputs[0]
    assert torch.equal(again(x), student(x))
    assert not torch.equal(other(x), student(x))


def test_a_teacher_worse_than_the_student_is_not_believed() -> None:
    """With trust at zero, alpha makes no difference at all."""
    alone = Distill(batch=64, passes=3, learning_rate=5e-3, alpha=0.0)
    x = kink_rows().inputs[0]
    assert torch.equal(run(teacher=Liar())(x), run(alone, Liar())(x))
    assert not torch.equal(run(teacher=Truth())(x), run(alone, Truth())(x))


def test_the_teacher_is_left_as_it_was() -> None:
    teacher = network().train()
    before = copy.deepcopy(teacher.state_dict())
    run(teacher=teacher)
    assert teacher.training
    assert all(torch.equal(value, before[name]) for name, value in teacher.state_dict().items())


def test_progress_is_told_after_each_step() -> None:
    seen: list[tuple[int, int]] = []
    train(form(), kink_rows(10), Squared(), Retrain(batch=4, passes=2), 0, progress=lambda *step: seen.append(step))
    assert seen == [(done, 6) for done in range(1, 7)]


def wide(width: int, depth: int) -> nn.Sequential:
    torch.manual_seed(width)
    body = [layer for i in range(depth) for layer in (nn.Linear(width if i else 8, width), nn.Tanh())]
    net = nn.Sequential(*body, nn.Linear(width, 1))
    net.hidden_layers = tuple(str(2 * i + 1) for i in range(depth))  # type: ignore[assignment]
    return net


class Feels(Truth):
    """A teacher that knows, and whose hidden state says more than its answer."""

    hidden_layers = ("feel",)

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(9)
        self.feel = nn.Sequential(nn.Linear(8, 6), nn.Tanh())

    def forward(self, x: Tensor) -> Tensor:
        self.feel(x)
        return super().forward(x)


def explained(student: nn.Sequential, teacher: Feels) -> float:
    """How much of the teacher's hidden state is a linear function of the student's last one: R²."""
    (x,) = kink_rows().inputs
    with torch.no_grad():
        ours, theirs = (h - h.mean(0) for h in (student[:-1](x), teacher.feel(x)))
        left = theirs - ours @ torch.linalg.lstsq(ours, theirs).solution
    return 1 - float(left.square().sum() / theirs.square().sum())


def test_hidden_states_of_another_width_and_depth_are_learned() -> None:
    plain, hinted = wide(16, 2), wide(16, 2)
    for student, hidden in ((plain, 0.0), (hinted, 10.0)):
        step = Distill(batch=64, learning_rate=5e-3, hidden=hidden)
        train(student, kink_rows(), Squared(), step, 0, teacher=Feels())
    assert plain.state_dict().keys() == hinted.state_dict().keys()
    assert 1 - explained(hinted, Feels()) < 0.5 * (1 - explained(plain, Feels()))


class Scaled(Truth):
    """Its hidden state is the first input times a number, so many times beside each other."""

    hidden_layers = ("shown",)

    def __init__(self, number: float, width: int) -> None:
        super().__init__()
        self.number, self.width, self.shown = nn.Parameter(torch.tensor(number)), width, nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        self.shown(self.number * x[:, :1].expand(-1, self.width))
        return super().forward(x)


def test_the_projection_is_learned_beside_the_student() -> None:
    """A projection that stayed as drawn, two numbers within 0.71 of zero, would need a number of at least 5 / 1.42."""
    student, step = Scaled(1.0, width=2), Distill(batch=100, passes=20, learning_rate=0.02, hidden=1.0)
    train(student, kink_rows(), Squared(), step, 0, teacher=Scaled(5.0, width=1))
    assert 1 < float(student.number.detach()) < 3


def test_a_teacher_that_shows_its_inside_is_left_as_it_was_and_asked_in_eval_mode() -> None:
    teachers = [nn.Sequential(nn.Linear(8, 4), nn.Dropout(0.5), nn.Linear(4, 1)).train(mode) for mode in (True, False)]
    teachers[1].load_state_dict(teachers[0].state_dict())
    students = [wide(4, 1), wide(4, 1)]
    for student, teacher in zip(students, teachers, strict=True):
        teacher.hidden_layers = ("1",)  # type: ignore[assignment]
        train(student, kink_rows(), Squared(), Distill(passes=1, hidden=1.0), 0, teacher=teacher)
        assert all(p.grad is None for p in teacher.parameters())
    assert [teacher.training for teacher in teachers] == [True, False]
    x = kink_rows().inputs[0]
    assert torch.equal(students[0](x), students[1](x))


def test_hidden_states_of_a_teacher_that_is_not_believed_teach_nothing() -> None:
    liar = wide(24, 1)
    with torch.no_grad():
        list(liar.parameters())[-1].fill_(1_000)
    x = kink_rows().inputs[0]
    plain, hinted = (
        train(wide(16, 2), kink_rows(), Squared(), Distill(batch=64, hidden=h), 0, teacher=liar) for h in (0.0, 10.0)
    )
    assert torch.equal(plain(x), hinted(x))


class Broken(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return torch.full((len(x), 1), math.nan)


def test_what_cannot_be_trained_is_refused() -> None:
    with pytest.raises(ValueError, match="teacher gives answers that are not finite"):
        run(teacher=Broken())
    with pytest.raises(ValueError, match="distill needs a teacher"):
        run()
    with pytest.raises(ValueError, match="retrain needs at least one sample"):
        train(form(), Data((torch.zeros(0, 8),), torch.zeros(0)), Squared(), RETRAIN, 0)
    labels = kink_rows().labels.clone()
    labels[17] = math.inf
    with pytest.raises(ValueError, match="retrain diverged at step"):
        train(form(), Data(kink_rows().inputs, labels), Squared(), RETRAIN, 0)
    with pytest.raises(ValueError, match="training_form"):
        train(network(), kink_rows(), Squared(), RETRAIN, 0, ramps=[PRUNE])
    with pytest.raises(ValueError, match="only an amount"):
        run(RETRAIN, ramps=[Prune(below=0.1)])
    with pytest.raises(ValueError, match="leave decoupled off"):
        run(Distill(decoupled=True), Truth())
    with pytest.raises(ValueError, match="shows no hidden states"):
        run(Distill(hidden=1.0), Truth())


def test_a_cosine_rises_over_a_tenth_and_falls_to_nothing() -> None:
    shares = [rate("cosine", 40, step) for step in range(40)]
    assert shares[:5] == [0.25, 0.5, 0.75, 1.0, 1.0]
    assert shares[22] == pytest.approx(0.5)  # half-way down
    assert shares[3:] == sorted(shares[3:], reverse=True)
    assert 0 < shares[-1] < 0.01
    assert [rate("constant", 40, step) for step in (0, 39)] == [1.0, 1.0]


def test_the_schedule_is_what_the_optimizer_uses(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[float] = []
    step = torch.optim.AdamW.step

    def spied(self: torch.optim.AdamW, *args: Any) -> Any:
        seen.append(self.param_groups[0]["lr"])
        return step(self, *args)

    monkeypatch.setattr(torch.optim.AdamW, "step", spied)
    run(Retrain(batch=64, passes=1, learning_rate=0.01, schedule="cosine"))
    assert seen == pytest.approx([0.01 * rate("cosine", len(seen), at) for at in range(len(seen))])
    assert len(seen) > 5
