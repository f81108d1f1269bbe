"""A state copied into memory that is kept for it, so that learning can go on while the copy is written.

Owns that memory. Does not know what a state is for.
"""

from collections.abc import Collection, Mapping

import torch
from torch import Tensor


class Copies:
    """Memory for one state, used again for the next one.

    >>> weight, copies = torch.ones(2), Copies()
    >>> copied = copies.of({"weight": weight, "tied": weight})
    >>> weight.zero_(), copied["weight"], copied["tied"] is copied["weight"]
    (tensor([0., 0.]), tensor([1., 1.]), True)
    """

    def __init__(self) -> None:
        self._kept: dict[str, Tensor] = {}

    def of(self, state: Mapping[str, Tensor], but: Collection[str] = ()) -> dict[str, Tensor]:
        """Return a copy of a state, without copying what never changes, the names in `but`.

        It is overwritten by the next call. What has two names, such as tied weights, is copied once.
        """
        copied, tied, taken = dict[str, Tensor](), dict[tuple[object, ...], Tensor](), set[int]()
        with torch.no_grad():
            for name, tensor in state.items():
                if name in but:
                    copied[name] = tensor
                    continue
                key = (tensor.data_ptr(), tensor.dtype, tensor.shape, tensor.stride())
                if key not in tied:
                    memory = self._memory(name, tensor, taken)
                    taken.add(id(memory))
                    tied[key] = memory.copy_(tensor)
                copied[name] = tied[key]
        self._kept = {name: tensor for name, tensor in copied.items() if name not in but}
        return copied

    def _memory(self, name: str, like: Tensor, taken: set[int]) -> Tensor:
        """Return memory for a tensor: that of the last copy where it fits, and is not `taken` by what was tied."""
        memory = self._kept.get(name)
        fits = memory is not None and (memory.shape, memory.dtype) == (like.shape, like.dtype)
        return memory if memory is not None and fits and id(memory) not in taken else torch.empty_like(like)
