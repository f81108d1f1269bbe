"""Distillation: the loss that a teacher adds to that of the real labels, and how far the teacher is trusted.

Owns the blend of losses, decoupled distillation, and the trust in the teacher. Does not know tasks (their losses are
passed in), the training loop (train.py), how hidden states are read (hidden.py), or where the data comes from.
Loss (Hinton et al., arXiv 1503.02531): a w T² soft(teacher, student, T) + (1 - a w) hard(student, label), plus
h w hidden(teacher, student) if h > 0; a = alpha, w = trust, T = temperature, h = `Distill.hidden`.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from compressors.answers import answer_all, evaluating
from compressors.data import Data, Losses
from compressors.distillation.hidden import Hints, observe
from compressors.errors import Unsuited
from compressors.recipe import Distill

TRUST_BLOCK = 2_000  # rows; trust by row would leak the label: a loss of 0.4659, not 0.4630, with a good teacher
TRUST_SPAN = 0.05  # nats: a teacher whose mean loss is this much above the student's is not trusted at all
TARGET_WEIGHT, OTHERS_WEIGHT = 1.0, 8.0  # DKD's alpha and beta: arXiv 2203.08679, CIFAR-100; its authors' defaults


class Teaching:
    """The lesson of a teacher: the student's loss on any rows of the data, with the teacher's part in it.

    The constructor runs both models once on all rows, to find how far the teacher is trusted.

    Raises:
        ValueError: the teacher's answers are not finite or do not have the student's shape, or a model does not show
            the hidden states that the step needs.
    """

    def __init__(self, student: nn.Module, teacher: nn.Module, data: Data, losses: Losses, step: Distill) -> None:
        self._student, self._teacher, self._data, self._losses, self._step = student, teacher, data, losses, step
        self._target, ours = answer_all([teacher, student], data.rows)
        if not bool(torch.isfinite(self._target).all()):
            raise ValueError("the teacher gives answers that are not finite")
        if ours.shape != self._target.shape:
            theirs, mine = tuple(self._target.shape), tuple(ours.shape)
            raise Unsuited(f"distill: the teacher's outputs are {theirs}, the model's {mine}: they must be alike")
        worse, own = (losses.losses(out, data.labels) for out in (self._target, ours))
        self._trust = trust(worse, own)
        self._hints = Hints(student, teacher, data.rows.batch(torch.arange(1))) if step.hidden else None

    @property
    def extra(self) -> Sequence[nn.Parameter]:
        """The parameters to train along with the student, not needed afterwards: projections of its hidden states."""
        return [*self._hints.parameters()] if self._hints else []

    def losses(self, rows: Tensor) -> Tensor:
        """Return the loss of each of the rows (n,), with gradients in the student."""
        inputs, label = self._data.batch(rows)
        output, distance = self._read(inputs)
        share = self._step.alpha * self._trust[rows]
        loss = blend(self._losses, self._target[rows], output, label, share, self._step)
        return loss if distance is None else loss + self._step.hidden * self._trust[rows] * distance

    def _read(self, inputs: tuple[Tensor, ...]) -> tuple[Tensor, Tensor | None]:
        if self._hints is None:
            return self._student(*inputs), None
        output, ours = observe(self._student, inputs)
        with evaluating(self._teacher):
            _, theirs = observe(self._teacher, inputs)
        return output, self._hints(ours, theirs)


def blend(losses: Losses, teacher: Tensor, student: Tensor, label: Tensor, share: Tensor, step: Distill) -> Tensor:
    """Return the loss of each row (N,); `share` (N,) is alpha times the trust."""
    if step.decoupled:
        soft = decoupled(teacher, student, label, step.temperature)
    else:
        soft = losses.soft_losses(teacher, student, step.temperature)
    return share * (soft * step.temperature**2) + (1 - share) * losses.losses(student, label)


def decoupled(teacher: Tensor, student: Tensor, label: Tensor, temperature: float) -> Tensor:
    """Return each row's loss of decoupled distillation (DKD, Zhao et al., arXiv 2203.08679), without the factor T².

    alpha KL(b_T ‖ b_S) + beta KL(q_T ‖ q_S): b is the distribution between the label's class and all others together, q
    the one among the others. With beta = 1 - (teacher's p of the label) it would be Hinton's KL. Logits are (N, K),
    labels (N,). With two classes only one other is left, and the second part is zero.

    Raises:
        ValueError: K < 2, or a label is several numbers.
    """
    if teacher.shape[1] < 2 or label.dim() > 1:
        raise ValueError(
            "distill.decoupled is for a task with a logit for each class and one class as its label, such as Classes: "
            "leave decoupled off"
        )
    theirs, ours = (_split(logits / temperature, label) for logits in (teacher, student))
    target, others = (_kl(t, s) for t, s in zip(theirs, ours, strict=True))
    return TARGET_WEIGHT * target + OTHERS_WEIGHT * others


def _split(logits: Tensor, label: Tensor) -> tuple[Tensor, Tensor]:
    """Return log b (N, 2) and log q (N, K - 1)."""
    of_label = F.one_hot(label.long(), logits.shape[1]).bool()
    others = logits[~of_label].view(len(logits), -1)
    pair = torch.stack([logits[of_label], others.logsumexp(1)], 1)
    return F.log_softmax(pair, 1), F.log_softmax(others, 1)


def _kl(teacher: Tensor, student: Tensor) -> Tensor:
    return F.kl_div(student, teacher, log_target=True, reduction="none").sum(1)


def trust(teacher: Tensor, student: Tensor) -> Tensor:
    """Return how far the teacher is trusted on each row (N,), in [0, 1], from both models' losses (N,), oldest first.

    The trust is the same for all rows of a block of about 2,000: clip(1 - (teacher's mean - student's mean) / 0.05).
    """
    blocks = (teacher - student).tensor_split(max(1, len(teacher) // TRUST_BLOCK))
    return torch.cat([(1 - b.mean() / TRUST_SPAN).clamp(0, 1).expand(len(b)) for b in blocks])
