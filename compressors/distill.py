"""Distillation: a warm-started training form learns from a teacher and from real outcomes, and is pruned on the way.

Owns the blend of losses, the trust in the teacher, and the passes. Does not know tasks (their losses are handed in),
where the replay comes from, or what becomes of the student.
Loss (Hinton et al., arXiv 1503.02531): a w T² soft(teacher, student, T) + (1 - a w) hard(student, label), a = alpha.
"""

from collections.abc import Iterator
from typing import NamedTuple, Protocol

import torch
from torch import Tensor, nn

from compressors.prune import cubic, prune_amount, sparsity
from compressors.recipe import Distill, Recipe

TRUST_BLOCK = 2_000  # a trust per sample would see the label: 0.4659 against 0.4630 with a good teacher
TRUST_SPAN = 0.05  # nats by which a teacher may be worse before nothing of it is believed
PRUNE_EVERY = 16  # steps between two stages of the ramp; choosing the masks costs a few steps
ROWS = 8_192  # rows answered at once where nothing is learned


class Losses(Protocol):
    """What distillation needs of a task; outputs (N, K), labels and losses (N,)."""

    def losses(self, output: Tensor, label: Tensor) -> Tensor:
        """Loss of each row."""
        ...

    def soft_losses(self, teacher: Tensor, student: Tensor, temperature: float) -> Tensor:
        """Distance of each row's answer from the teacher's, without the factor T²."""
        ...


class Data(NamedTuple):
    """The replay, oldest first: the model's inputs, each with N rows, and the labels (N,)."""

    inputs: tuple[Tensor, ...]
    labels: Tensor


def distill(student: nn.Module, teacher: nn.Module, data: Data, losses: Losses, recipe: Recipe, seed: int) -> nn.Module:
    """Train `student`, a warm-started training form, in place; it ends in eval mode at the recipe's sparsity.

    The same inputs and seed give the same bits; the global random generator is left as it was.

    Raises:
        ValueError: no data, not a training form, or the teacher's answers or the loss are not finite.
    """
    if len(data.labels) == 0:
        raise ValueError("distillation needs at least one sample")
    spec = recipe.distill
    target = answers(teacher, data.inputs)
    if not bool(torch.isfinite(target).all()):
        raise ValueError("the teacher gives answers that are not finite")
    share = spec.alpha * trust(
        losses.losses(target, data.labels), losses.losses(answers(student, data.inputs), data.labels)
    )
    optimizer = torch.optim.AdamW(student.parameters(), lr=spec.learning_rate, fused=True)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        batches = list(_batches(len(data.labels), spec))
        stages = _stages(student, recipe, len(batches))
        student.train()
        for step, chosen in enumerate(batches):
            if step in stages:
                prune_amount(student, stages[step])
            output = student(*(t[chosen] for t in data.inputs))
            loss = blend(losses, target[chosen], output, data.labels[chosen], share[chosen], spec.temperature).mean()
            if not bool(torch.isfinite(loss)):
                raise ValueError(f"distillation diverged at step {step}: its loss is {float(loss.detach())}")
            optimizer.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
    return student.eval()


def blend(losses: Losses, teacher: Tensor, student: Tensor, label: Tensor, share: Tensor, temperature: float) -> Tensor:
    """Loss of each row (N,); `share` (N,) is alpha times the trust."""
    soft = losses.soft_losses(teacher, student, temperature) * temperature**2
    return share * soft + (1 - share) * losses.losses(student, label)


def trust(teacher: Tensor, student: Tensor) -> Tensor:
    """How far to believe the teacher on each row, from both models' losses (N,) in the order of time.

    Equal within blocks of about 2,000 rows: clip(1 - (teacher's mean - student's mean) / 0.05, 0, 1).
    """
    blocks = (teacher - student).tensor_split(max(1, len(teacher) // TRUST_BLOCK))
    return torch.cat([(1 - b.mean() / TRUST_SPAN).clamp(0, 1).expand(len(b)) for b in blocks])


def answers(model: nn.Module, inputs: tuple[Tensor, ...]) -> Tensor:
    """Answer all rows (N, K) in eval mode, learning nothing; the mode is put back."""
    was = model.training
    model.eval()
    with torch.no_grad():
        rows = [model(*part) for part in zip(*(torch.split(t, ROWS) for t in inputs), strict=True)]
    model.train(was)
    return torch.cat(rows)


def _batches(rows: int, spec: Distill) -> Iterator[Tensor]:
    for _ in range(spec.passes):
        yield from torch.split(torch.randperm(rows), spec.batch)


def _stages(student: nn.Module, recipe: Recipe, steps: int) -> dict[int, float]:
    """Which sparsity is due before which step; the last stage is the recipe's own. None if the student has it."""
    final, start = recipe.prune.amount, sparsity(student).overall
    if start >= final:
        return {}
    ramp = min(round(recipe.prune.ramp * steps), steps - 1)
    stages = {step: cubic(start, final, step, ramp) for step in range(0, ramp, PRUNE_EVERY)}
    return stages | {ramp: final}
