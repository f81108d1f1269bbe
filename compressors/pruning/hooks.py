"""Between the modules of a model: other code runs in their place, and reads of numbers by Python are noticed.

Owns these means; all are undone after use. Does not know what they are used for.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from compressors.internals import TO_PYTHON, TorchDispatchMode


@contextmanager
def instead(modules: Iterable[nn.Module], make: Callable[[nn.Module], Callable[..., Any]]) -> Iterator[None]:
    """Let `make(module)` answer in place of each module's forward until the block ends."""
    before = {module: vars(module).get("forward") for module in modules}
    answers = {module: make(module) for module in before}
    try:
        for module, forward in answers.items():
            vars(module)["forward"] = forward
        yield
    finally:
        for module, own in before.items():
            del vars(module)["forward"]
            if own is not None:
                vars(module)["forward"] = own


def tensors(nested: Any) -> Iterator[Tensor]:
    """Yield all tensors in nested tuples, lists and mappings."""
    if isinstance(nested, Tensor):
        yield nested
    elif isinstance(nested, Mapping | list | tuple):
        for part in nested.values() if isinstance(nested, Mapping) else nested:
            yield from tensors(part)


def cloned(nested: Any) -> Any:
    """Return a copy of a tensor, or of nested tuples and lists of them, that may be written to."""
    if isinstance(nested, Tensor):
        return nested.clone()
    return type(nested)(map(cloned, nested)) if type(nested) in (list, tuple) else nested


@contextmanager
def step_by_step() -> Iterator[None]:
    """Compute attention in single steps: fused kernels bypass the modules, or skip what does not change the result."""
    was = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with sdpa_kernel(SDPBackend.MATH):
            yield
    finally:
        torch.backends.mha.set_fastpath_enabled(was)


class Reads(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Notices when Python reads a tensor's number, as `if tensor:` does, and so may decide by it.

    `any` is True after any such read, `floats` after one of a parameter, a float input, or what was computed from them.
    Storages are watched, so views count as well.
    """

    def __init__(self, model: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.any = self.floats = False
        self._computed: dict[int, Tensor] = {}
        self._keep(t for t in (*model.parameters(), *inputs) if t.is_floating_point())

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        computed = any(_storage(t) in self._computed for t in tensors((args, kwargs or {})))
        if func in TO_PYTHON:
            self.any, self.floats = True, self.floats or computed
        elif computed:
            self._keep(tensors(out))
        return out

    def _keep(self, computed: Iterable[Tensor]) -> None:
        """Remember these tensors, and keep them alive: no other storage can then have the same address."""
        self._computed |= {_storage(t): t for t in computed if t.numel()}


def _storage(tensor: Tensor) -> int:
    return tensor.untyped_storage().data_ptr()
