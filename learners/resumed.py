"""What a fold holds, as typed data: a part's state, from which another process goes on, bit for bit.

A part names what it holds in its `State`, whose fields are its attributes; what it was built with, such as a policy or
a model, is not among them. Owns how states are taken and put back. Does not know what they mean, or their bytes.
"""

from collections import deque
from typing import Any, ClassVar

from msgspec import Struct


class Resumed:
    """A part of a fold. One that holds others in a list or a dict has a `state` and a `restore` of its own.

    >>> class Count(Resumed):
    ...     class State(Struct):
    ...         _n: int
    ...     State = State
    ...     def __init__(self) -> None:
    ...         self._n = 0
    >>> count = Count()
    >>> count.restore(Count.State(3))
    >>> count.state()
    State(_n=3)
    """

    State: ClassVar[type[Struct]]

    def state(self) -> Any:
        """Return what the part holds. It is the part's own: to be packed before the part goes on."""
        return self.State(**{name: _state(getattr(self, name)) for name in self.State.__struct_fields__})

    def restore(self, state: Any) -> None:
        """Hold what another part of this kind has held."""
        for name in self.State.__struct_fields__:
            own, told = getattr(self, name), getattr(state, name)
            if isinstance(own, Resumed):
                own.restore(told)
            else:
                setattr(self, name, deque(told, own.maxlen) if isinstance(own, deque) else told)


def _state(held: Any) -> Any:
    if isinstance(held, Resumed):
        return held.state()
    return list(held) if isinstance(held, deque) else held
