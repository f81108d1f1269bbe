"""What the pool asks of an expert: the contracts. Owns no numbers."""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

Doubles = NDArray[np.float64]
Ints = NDArray[np.int64]


class Stateful(Protocol):
    """What has a state that can be kept."""

    def state(self) -> dict[str, Tensor]:
        """Return copies of all that changes."""

    def load(self, state: Mapping[str, Tensor]) -> None:
        """Go on from a state."""


class Expert(Stateful, Protocol):
    """Answers, and learns outcomes; `names` are those of its columns, which for K classes are K columns each.

    A row is one of the pipeline's features, any that their type lets in. A label is 0 or 1, or the index of a class, or
    K of 0 and 1, or a bandit's reward, action and propensity, or a number, which is then what is answered, too; its
    weight is positive. Equal rows in an equal order make equal states: the learner goes back to an earlier one, and
    learns again. An expert that raises, or says what is not finite, ends the run with an error that names it. The state
    of a model of another package can be `pickled`.

    >>> import numpy as np, torch
    >>> class Rate:
    ...     names = ("rate",)
    ...     p = 0.5
    ...     def answer(self, rows):
    ...         return np.full((len(rows), 1), np.log(self.p / (1 - self.p)))
    ...     def learn(self, rows, labels, weights):
    ...         for label in labels:
    ...             self.p += 0.01 * (0.98 * label + 0.01 - self.p)
    ...     def state(self):
    ...         return {"p": torch.tensor(self.p, dtype=torch.float64)}
    ...     def load(self, state):
    ...         self.p = float(state["p"])
    >>> from shadowstream import Expert, Live
    >>> expert: Expert = Rate()
    >>> expert.learn([None], np.array([1.0]), np.ones(1))
    >>> expert.answer([None]).round(3)
    array([[0.02]])
    >>> Live(experts=[Rate]).experts[0].names
    ('rate',)
    """

    @property
    def names(self) -> tuple[str, ...]:
        """One for each column."""

    def answer(self, rows: Sequence[Any]) -> Doubles:
        """Return logits (N, columns)."""

    def learn(self, rows: Sequence[Any], labels: Doubles, weights: Doubles) -> None:
        """Learn outcomes in their order."""


@runtime_checkable
class Followed(Protocol):
    """What servers follow by that which changed. Of any other expert they get the whole state, 32 MiB at most."""

    def changes(self, *, whole: bool) -> dict[str, Tensor]:
        """Return all that answering needs and that changed since the last call, or all of it."""

    def follow(self, changes: Mapping[str, Tensor]) -> None:
        """Answer from now on as the one that changed."""


class Pooled(Expert, Followed, Protocol):
    """An expert as the pool has it."""

    def renew(self, rows: Sequence[Any], labels: Doubles, weights: Doubles) -> None:
        """Begin anew in a changed world, of which these outcomes are known."""


class Combining(Stateful, Protocol):
    """Makes one answer of what experts say, N samples of all their columns."""

    def answer(self, said: Doubles, /) -> Doubles:
        """Return the answer: the chance of yes (N,), or outputs (N, K)."""

    def learn(self, said: Doubles, labels: Doubles, weights: Doubles, /) -> None:
        """Follow outcomes in their order; `said` was recorded at the prediction."""


class Waiting(Stateful, Followed, Protocol):
    """Answers from who still waits, and what came next, with a mark for each of `chain_ages`."""

    @property
    def ready(self) -> bool:
        """Whether it has learned enough to be asked."""

    def answer(self, rows: Sequence[Any]) -> Doubles:
        """Return logits (N, 1)."""

    def waited(self, rows: Sequence[Any], marks: Ints, outcomes: Doubles, weights: Doubles, t_ms: Ints) -> None:
        """Learn what came of N predictions at a mark: a label, or NaN if they still wait."""
