"""What the pool asks of an expert: the contracts. Owns no numbers."""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from torch import Tensor

from learners.live.compiled import Doubles, Ints


class Stateful(Protocol):
    """What has a state that can be kept."""

    def state(self) -> dict[str, Tensor]:
        """Return copies of all that changes."""

    def load(self, state: Mapping[str, Tensor]) -> None:
        """Go on from a state."""


class Expert(Stateful, Protocol):
    """Answers, and learns outcomes; `names` are those of its columns."""

    @property
    def names(self) -> tuple[str, ...]:
        """One for each column."""

    def answer(self, rows: Sequence[Any]) -> Doubles:
        """Return logits (N, columns)."""

    def learn(self, rows: Sequence[Any], labels: Doubles, weights: Doubles) -> None:
        """Learn outcomes in their order."""


class Waiting(Stateful, Protocol):
    """Answers from who still waits, and what came next, with a mark for each of `chain_ages`."""

    def resolved(self, rows: Sequence[Any]) -> Doubles:
        """Return the logit, and how much of all futures it covers: (N, 2)."""

    def waited(self, rows: Sequence[Any], marks: Ints, outcomes: Doubles, weights: Doubles) -> None:
        """Learn what came of N predictions at a mark: a label, or NaN if they still wait."""
