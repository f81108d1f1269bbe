"""An expert of a user's own, whose faults are named: what it raises, and answers and states that are none.

Owns these checks, and that it learns no label or weight that is not finite. Does not know how it learns.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from learners.live.compiled import Doubles
from learners.live.experts.expert import Expert, Followed
from learners.live.tables.arrays import usable
from streams.errors import ConfigError

MEMBERS = ("answer", "learn", "state", "load")
MOST_BYTES = 32 << 20  # each server reads so much after each commit


class Checked:
    """The expert that `make`, number `at` of `Live.experts`, returns; servers follow it by its whole state."""

    def __init__(
        self, make: Callable[[], Expert], at: int, width: int = 1, labels: tuple[float, float] = (0.0, 1.0)
    ) -> None:
        """`width`: the columns of each name; `labels`: the least and the largest."""
        self._who, self._width, self._labels = f"Live.experts[{at}]", width, labels
        self._expert = expert = self._called("when it was made", make)
        missing = [name for name in ("names", *MEMBERS) if not hasattr(expert, name)]
        if missing:
            raise ConfigError(
                f"{self._who} made {expert!r}, which has no {missing[0]}; an expert has names, {', '.join(MEMBERS)}"
            )
        self.names: tuple[str, ...] = expert.names
        if not (isinstance(self.names, tuple) and self.names and all(isinstance(name, str) for name in self.names)):
            raise ConfigError(f"{self._who}: names must be a tuple of texts, as ('river',), got {self.names!r}")
        self._who = f"the expert {', '.join(map(repr, self.names))} of Live.experts[{at}]"

    def answer(self, rows: Sequence[Any]) -> Doubles:
        """Return the logits (N, columns) of rows; of no rows nobody is asked."""
        columns = len(self.names) * self._width
        if not rows:
            return np.empty((0, columns))
        answered, wanted = self._called("in answer", self._expert.answer, rows), (len(rows), columns)
        try:
            said = np.asarray(answered, dtype=np.float64)
        except (TypeError, ValueError) as wrong:
            raise ConfigError(f"{self._who} answered {answered!r}; it must be logits of shape {wanted}") from wrong
        if said.shape != wanted:
            raise ConfigError(f"{self._who} answered logits of shape {said.shape}; they must be of shape {wanted}")
        if not np.isfinite(said).all():
            n = int(np.flatnonzero(~np.isfinite(said).all(axis=1))[0])
            raise ConfigError(
                f"{self._who} answered {said[n].tolist()} to {rows[n]!r}; a logit must be finite: bound what it reads, "
                "and what it says"
            )
        return said

    def learn(self, rows: Sequence[Any], labels: Doubles, weights: Doubles) -> None:
        """Learn outcomes in their order; none whose label or weight is not finite, or that has no weight."""
        use = usable(weights, labels)
        kept = np.flatnonzero(use)
        if len(kept):
            chosen = [rows[n] for n in kept.tolist()]
            self._called("in learn", self._expert.learn, chosen, np.clip(labels[kept], *self._labels), use[kept])

    def renew(self, rows: Sequence[Any], labels: Doubles, weights: Doubles) -> None:
        """Go on: how it follows a changed world is its own."""

    def state(self) -> dict[str, Tensor]:
        """Return copies of all that changes."""
        return self._tensors("state", self._called("in state", self._expert.state))

    def load(self, state: Mapping[str, Tensor]) -> None:
        """Go on from a state."""
        self._called("in load", self._expert.load, state)

    def changes(self, *, whole: bool) -> dict[str, Tensor]:
        """Return all that answering needs: what the expert says has changed, or else its whole state."""
        if isinstance(self._expert, Followed):
            return self._tensors("changes", self._called("in changes", self._expert.changes, whole=whole))
        state = self.state()
        if (size := sum(value.nbytes for value in state.values())) > MOST_BYTES:
            raise ConfigError(
                f"the state of {self._who} has {size:,} bytes, and each server reads it after each commit; at most "
                f"{MOST_BYTES:,} are sent: let it keep less, or give it `changes` and `follow`, which send what changed"
            )
        return state

    def follow(self, changes: Mapping[str, Tensor]) -> None:
        """Answer from now on as the one that changed."""
        expert = self._expert
        member = ("in follow", expert.follow) if isinstance(expert, Followed) else ("in load", expert.load)
        self._called(*member, changes)

    def _called(self, when: str, function: Callable[..., Any], *args: Any, **named: Any) -> Any:
        try:
            return function(*args, **named)
        except ConfigError:
            raise
        except Exception as wrong:
            raise ConfigError(f"{self._who} raised {type(wrong).__name__} {when}: {wrong}") from wrong

    def _tensors(self, member: str, state: Any) -> dict[str, Tensor]:
        if not isinstance(state, dict) or not all(isinstance(v, torch.Tensor) for v in state.values()):
            raise ConfigError(
                f"{self._who} returned {type(state).__name__} as its {member}; it must be a dict of tensors"
            )
        return state
