"""Distillation: what a teacher adds to the real labels' loss, and how far it is believed.

Owns the blend of losses, decoupled distillation, and the trust in the teacher. Does not know tasks (their losses are
handed in), the training loop (`train`), how hidden states are had (`hidden`), or where the replay comes from.
Loss (Hinton et al., arXiv 1503.02531): a w T² soft(teacher, student, T) + (1 - a w) hard(student, label), and
h w hidden(teacher, student) added where asked for; a = alpha, w = trust, T = temperature, h = `Distill.hidden`.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from compressors.data import Data, Losses
from compressors.distillation.hidden import Hints, look, still
from compressors.recipe import Distill

TRUST_BLOCK = 2_000  # a trust per sample would see the label: 0.4659 against 0.4630 with a good teacher
TRUST_SPAN = 0.05  # nats by which a teacher may be worse before nothing of it is believed
ROWS = 8_192  # rows answered at once where nothing is learned
TARGET_WEIGHT, OTHERS_WEIGHT = 1.0, 8.0  # DKD's alpha and beta: arXiv 2203.08679, CIFAR-100; its authors' defaults


class Teaching:
    """A teacher's lesson on data: the loss of any rows of it, for the student that the lesson was made for.

    Making it asks both models once about all rows, to know how far to believe the teacher.

    Raises:
        ValueError: the teacher's answers are not finite or not of the student's shape, or hidden states are asked for
            that a model does not show.
    """

    def __init__(self, student: nn.Module, teacher: nn.Module, data: Data, losses: Losses, step: Distill) -> None:
        self._student, self._teacher, self._data, self._losses, self._step = student, teacher, data, losses, step
        self._target = answers(teacher, data.inputs)
        if not bool(torch.isfinite(self._target).all()):
            raise ValueError("the teacher gives answers that are not finite")
        ours = answers(student, data.inputs)
        if ours.shape != self._target.shape:
            theirs, mine = tuple(self._target.shape), tuple(ours.shape)
            raise ValueError(f"distill: the teacher's outputs are {theirs}, the model's {mine}: they must be alike")
        worse, own = (losses.losses(out, data.labels) for out in (self._target, ours))
        self._trust = trust(worse, own)
        one = data.at(torch.arange(1))
        self._hints = Hints(student, teacher, one.inputs) if step.hidden else None

    @property
    def extra(self) -> Sequence[nn.Parameter]:
        """What must be learned beside the student, and is of no use later: the projections of its hidden states."""
        return [*self._hints.parameters()] if self._hints else []

    def losses(self, rows: Tensor) -> Tensor:
        """Loss of each of the rows, through the student."""
        inputs, label = self._data.at(rows)
        output, distance = self._read(inputs)
        share = self._step.alpha * self._trust[rows]
        loss = blend(self._losses, self._target[rows], output, label, share, self._step)
        return loss if distance is None else loss + self._step.hidden * self._trust[rows] * distance

    def _read(self, inputs: tuple[Tensor, ...]) -> tuple[Tensor, Tensor | None]:
        if self._hints is None:
            return self._student(*inputs), None
        output, ours = look(self._student, inputs)
        with still(self._teacher):
            _, theirs = look(self._teacher, inputs)
        return output, self._hints(ours, theirs)


def blend(losses: Losses, teacher: Tensor, student: Tensor, label: Tensor, share: Tensor, step: Distill) -> Tensor:
    """Loss of each row (N,); `share` (N,) is alpha times the trust."""
    if step.decoupled:
        soft = decoupled(teacher, student, label, step.temperature)
    else:
        soft = losses.soft_losses(teacher, student, step.temperature)
    return share * (soft * step.temperature**2) + (1 - share) * losses.losses(student, label)


def decoupled(teacher: Tensor, student: Tensor, label: Tensor, temperature: float) -> Tensor:
    """Decoupled distillation (DKD, Zhao et al., arXiv 2203.08679) of each row, without the factor T².

    alpha KL(b_T ‖ b_S) + beta KL(q_T ‖ q_S): b is the split between the label's class and all others, q the
    distribution among the others alone. With beta = 1 - (teacher's p of the label) it would be Hinton's KL. Logits are
    (N, K), labels (N,). Of two classes no distribution is left among the others, and the second part is zero.

    Raises:
        ValueError: K < 2, as in a binary task with one logit or in regression.
    """
    if teacher.shape[1] < 2:
        raise ValueError(
            "distill.decoupled is for a task with a logit for each class, and this one has a single output: "
            "it has no classes beside the label's; leave decoupled off"
        )
    theirs, ours = (_split(logits / temperature, label) for logits in (teacher, student))
    target, others = (_kl(t, s) for t, s in zip(theirs, ours, strict=True))
    return TARGET_WEIGHT * target + OTHERS_WEIGHT * others


def _split(logits: Tensor, label: Tensor) -> tuple[Tensor, Tensor]:
    """Give log b (N, 2) and log q (N, K - 1)."""
    of_label = F.one_hot(label.long(), logits.shape[1]).bool()
    others = logits[~of_label].view(len(logits), -1)
    pair = torch.stack([logits[of_label], others.logsumexp(1)], 1)
    return F.log_softmax(pair, 1), F.log_softmax(others, 1)


def _kl(teacher: Tensor, student: Tensor) -> Tensor:
    return F.kl_div(student, teacher, log_target=True, reduction="none").sum(1)


def trust(teacher: Tensor, student: Tensor) -> Tensor:
    """How far to believe the teacher on each row, from both models' losses (N,) in the order of time.

    Equal within blocks of about 2,000 rows: clip(1 - (teacher's mean - student's mean) / 0.05, 0, 1).
    """
    blocks = (teacher - student).tensor_split(max(1, len(teacher) // TRUST_BLOCK))
    return torch.cat([(1 - b.mean() / TRUST_SPAN).clamp(0, 1).expand(len(b)) for b in blocks])


def answers(model: nn.Module, inputs: tuple[Tensor, ...]) -> Tensor:
    """Answer all rows (N, K) in eval mode, learning nothing; the mode is put back."""
    with still(model):
        return torch.cat([model(*part) for part in zip(*(torch.split(t, ROWS) for t in inputs), strict=True)])
