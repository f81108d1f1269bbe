"""An expert made of another: what it knows is that one's, and so are its names. Owns nothing of its own."""

from collections.abc import Mapping
from typing import Generic, TypeVar

from torch import Tensor

from learners.live.experts.expert import Pooled

E = TypeVar("E", bound=Pooled)


class Around(Generic[E]):
    """The part of such an expert that passes on; how it answers and learns is its own."""

    def __init__(self, expert: E) -> None:
        self.names, self._expert = expert.names, expert

    def state(self) -> dict[str, Tensor]:
        """Return copies of all that changes."""
        return self._expert.state()

    def load(self, state: Mapping[str, Tensor]) -> None:
        """Go on from a state."""
        self._expert.load(state)

    def changes(self, *, whole: bool) -> dict[str, Tensor]:
        """Return all that answering needs and that changed since the last call, or all of it."""
        return self._expert.changes(whole=whole)

    def follow(self, changes: Mapping[str, Tensor]) -> None:
        """Answer from now on as the one that changed."""
        self._expert.follow(changes)
