"""The training of one step of a recipe: shuffled passes over the data, with pruning as the ramp demands it.

Owns the loop: its random draws, its optimizer and the ramp of sparsity. Does not know what a teacher adds to the loss
(distill.py), how masks are chosen (prune.py), the steps before and after, or what becomes of the student.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Protocol

import torch
from torch import Tensor, nn

from compressors.data import Data, Losses
from compressors.distillation.distill import Teaching
from compressors.norms import any_rows
from compressors.pruning.prune import cubic, prune_amount, sparsity
from compressors.recipe import STEP_NAMES, Distill, Prune, Retrain
from compressors.steps import Schedule

RAMP = 0.5  # share of the steps over which the sparsity rises, unless the prune step says another
RISE = 0.1  # share of the steps over which the learning rate of schedule "cosine" rises
PRUNE_EVERY = 16  # steps between two stages of the ramp; choosing masks takes as long as a few steps

Progress = Callable[[int, int], object]


class Lesson(Protocol):
    """What the student learns from: it computes the student's loss."""

    @property
    def extra(self) -> Sequence[nn.Parameter]:
        """The parameters to train along with the student."""
        ...

    def losses(self, rows: Tensor) -> Tensor:
        """Return the loss of each of the rows (n,), with gradients in the student."""
        ...


@dataclass(frozen=True)
class Labels:
    """The lesson of the real labels, without a teacher."""

    student: nn.Module
    data: Data
    task: Losses
    extra: Sequence[nn.Parameter] = ()

    def losses(self, rows: Tensor) -> Tensor:
        """Return the loss of each of the rows (n,), with gradients in the student."""
        inputs, label = self.data.batch(rows)
        return self.task.losses(self.student(*inputs), label)


def train(
    student: nn.Module,
    data: Data,
    losses: Losses,
    step: Retrain,
    seed: int,
    *,
    teacher: nn.Module | None = None,
    ramps: Sequence[Prune] = (),
    progress: Progress | None = None,
) -> nn.Module:
    """Carry out `step` on `student`, in place; return it in eval mode and with the sparsities of `ramps`.

    A `Retrain` learns from the labels alone; a `Distill` needs the teacher. `ramps` are prune steps with an amount,
    each for layers of its own: over the first share of the steps their sparsity rises from the present one to the
    amount; layers that are already as sparse keep their masks. `progress(done, steps)` is called after each training
    step. The same inputs and seed give the same bits; the global random generator is left as it was.

    Raises:
        ValueError: no data, nothing to train, no teacher for a `Distill`, a ramp without an amount or on a model that
            is not a training form, a loss that is not finite, or as `Teaching`.
    """
    if len(data) == 0:
        raise ValueError(f"{STEP_NAMES[type(step)]} needs at least one sample")
    if not any(weight.requires_grad for weight in student.parameters()):
        raise ValueError(
            f"{STEP_NAMES[type(step)]}: no parameter of the model requires a gradient, so none can be trained"
        )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        batches = list(_batches(len(data), step))
        lesson = _lesson(student, data, losses, step, teacher)
        optimizer = torch.optim.AdamW([*student.parameters(), *lesson.extra], lr=step.learning_rate, fused=True)
        rates = torch.optim.lr_scheduler.LambdaLR(optimizer, partial(rate, step.schedule, len(batches)))
        sparse = [m.weight for m in student.modules() if isinstance(m, nn.Embedding | nn.EmbeddingBag) and m.sparse]
        rising = [(ramp, _stages(student, ramp, len(batches))) for ramp in ramps]
        student.train()
        for done, rows in enumerate(batches):
            for ramp, stages in rising:
                if done in stages:
                    prune_amount(student, stages[done], ramp.scope, ramp.layers)
            with any_rows(student):
                loss = lesson.losses(rows).mean()
            _descend(optimizer, loss, sparse, f"{STEP_NAMES[type(step)]} diverged at step {done}")
            rates.step()
            if progress:
                progress(done + 1, len(batches))
    return student.eval()


def rate(schedule: Schedule, steps: int, step: int) -> float:
    """Return the share of the learning rate that is due at `step` of `steps`."""
    if schedule == "constant":
        return 1.0
    rise = max(1, round(RISE * steps))
    if step < rise:
        return (step + 1) / rise
    return 0.5 + 0.5 * math.cos(math.pi * (step - rise) / max(1, steps - rise))


def _lesson(student: nn.Module, data: Data, losses: Losses, step: Retrain, teacher: nn.Module | None) -> Lesson:
    if not isinstance(step, Distill):
        return Labels(student, data, losses)
    if teacher is None:
        raise ValueError("distill needs a teacher; retrain is the step that learns from the labels alone")
    return Teaching(student, teacher, data, losses, step)


def _descend(optimizer: torch.optim.Optimizer, loss: Tensor, sparse: Sequence[Tensor], otherwise: str) -> None:
    if not bool(torch.isfinite(loss)):
        raise ValueError(f"{otherwise}: its loss is {float(loss.detach())}")
    optimizer.zero_grad(set_to_none=True)
    loss.backward()  # type: ignore[no-untyped-call]
    for table in sparse:  # AdamW takes no sparse gradient
        table.grad = None if table.grad is None else table.grad.to_dense()
    optimizer.step()


def _batches(rows: int, step: Retrain) -> Iterator[Tensor]:
    for _ in range(step.passes):
        yield from torch.split(torch.randperm(rows), step.batch)


def _stages(student: nn.Module, ramp: Prune, steps: int) -> dict[int, float]:
    """Return the sparsities due, by the step before which they are; empty if the amount is reached already."""
    if ramp.amount is None:
        raise ValueError(f"only an amount can rise over the steps of a training, got {ramp}")
    start = sparsity(student, ramp.layers).overall
    if start >= ramp.amount:
        return {}
    last = min(round((RAMP if ramp.ramp is None else ramp.ramp) * steps), steps - 1)
    stages = {step: cubic(start, ramp.amount, step, last) for step in range(0, last, PRUNE_EVERY)}
    return stages | {last: ramp.amount}
