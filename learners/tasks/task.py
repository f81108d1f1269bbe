"""The contract of a task: what a label means, the loss and its slope, and how far the losses of two answers can differ.

Owns what an outcome's label becomes: its target, the numbers from which losses are computed. Does not know models, or
what these numbers are used for.
"""

from collections.abc import Sequence
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor

from learners.tasks.metrics import Metric
from streams.events import Label, Sample, Target

DIGITS = 6  # of a chance in an answer: enough for its reader, and a third of what float64 writes
EXACT_DIGITS = 9  # of a value: all that float32 has
TENS = torch.tensor([10.0**n for n in range(23)], dtype=torch.float64)  # the powers that float64 holds exactly
LOGIT_FLOOR = 9.21  # |logit| beyond this is a probability under 1e-4: served probabilities are floored there


class Task(Protocol):
    """What is predicted: one of the tasks in `learners/tasks/`, or a class of yours with these members.

    Outputs have shape (N, K), for N answers of a model with K outputs, and targets (N,), or (N, T) where `target` makes
    T numbers of a label. A model is trained on its raw outputs; what is measured and compared is what was served: the
    raw output plus the live intercept. A target comes from the outcome alone, never from an answer.

    `losses` is what training lowers and what the gate compares; `soft_losses` distils the teacher into the student;
    `residual` moves the live intercept; `worst_gap` makes the gate's test valid.

    >>> import torch
    >>> task: Task = Binary()
    >>> served = torch.tensor([[0.0], [2.0]])  # N = 2, K = 1
    >>> task.losses(served, torch.tensor([1.0, 0.0]))
    tensor([0.6931, 2.1269])
    >>> task.residual([0.0], 1.0)  # a yes at even odds: the intercept goes up
    (0.5,)
    >>> task.worst_gap(served, served + 1)  # what the first may lose to the second, whichever label comes
    tensor([0.3799, 0.0783])
    """

    @property
    def outputs(self) -> int:
        """K, the number of the model's outputs."""
        ...

    def target(self, label: Label) -> Target:
        """Return what the losses learn from an outcome's label, any JSON but null: one number, or a tuple of T.

        A target is taken as well, and stays as it is.

        Raises:
            MalformedEvent: the label is not the task's; the message has it, and says what would be right.
        """
        ...

    def metrics(self) -> tuple[Metric, ...]:
        """Return what is measured of answers, each without an answer yet; the mean of `losses` is the first."""
        ...

    def losses(self, output: Tensor, target: Tensor) -> Tensor:
        """Return the loss of each row, shape (N,)."""
        ...

    def soft_losses(self, teacher: Tensor, student: Tensor, temperature: float) -> Tensor:
        """Return each row's distance of the student's answer from the teacher's, shape (N,).

        Both answers have shape (N, K). What is trained is this times the squared temperature (Hinton et al., arXiv
        1503.02531): that factor is not in it.
        """
        ...

    def residual(self, served: Sequence[float], target: Any) -> tuple[float, ...]:
        """Return −∂loss/∂output of one answer, or a multiple of at least 0: the live intercept's step, length K."""
        ...

    def worst_gap(self, candidate: Tensor, champion: Tensor) -> Tensor:
        """Return b = max over all labels of loss(candidate) − loss(champion), at least 0, shape (N,).

        It is known before the label is: the gate bets with it.
        """
        ...


@runtime_checkable
class Answering(Protocol):
    """A task that says what its answers mean, in words that every prediction carries to the client that asked.

    Ours do; a task of yours may.
    """

    def answers(self, served: Tensor) -> list[dict[str, Any]]:
        """Return what each of N answers of shape (N, K) means, by names other than those of a prediction's own fields.

        `served` is raw output plus live intercept. The values must be JSON's; they are for clients: the learner and the
        gate use `served` itself.
        """
        ...


@runtime_checkable
class Completing(Protocol):
    """A task whose target is in a label only in part: `Bandit` also needs what was asked, and what was served."""

    def complete(self, sample: Sample) -> Target:
        """Return the whole target of a sample, whose label is what `target` made of the outcome's.

        Raises:
            MalformedEvent: it cannot be told; the sample is quarantined.
        """
        ...


def rounded(values: Tensor, digits: int = DIGITS) -> Tensor:
    """Return numbers for clients with so many significant digits, in float64, which writes no more of them."""
    exact = values.double()
    size = torch.nan_to_num(exact.abs().log10().floor(), nan=0.0, posinf=0.0, neginf=0.0)
    shift = (digits - 1 - size).long().clamp(1 - len(TENS), len(TENS) - 1)
    power = TENS[shift.abs()]
    return torch.where(shift < 0, (exact / power).round() * power, (exact * power).round() / power)
