"""Getting between the modules of a model: answering in their place, and seeing what leaves for Python.

Owns those means, all put back after use. Does not know what they are used for.
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
    """Let these modules answer with `make(module)` for a while."""
    had = {module: vars(module).get("forward") for module in modules}
    made = {module: make(module) for module in had}
    try:
        for module, forward in made.items():
            vars(module)["forward"] = forward
        yield
    finally:
        for module, own in had.items():
            del vars(module)["forward"]
            if own is not None:
                vars(module)["forward"] = own


def tensors(held: Any) -> Iterator[Tensor]:
    """Give all tensors in nested tuples, lists and mappings."""
    if isinstance(held, Tensor):
        yield held
    elif isinstance(held, Mapping | list | tuple):
        for part in held.values() if isinstance(held, Mapping) else held:
            yield from tensors(part)


def copied(held: Any) -> Any:
    """Copy the tensors of a tuple or list, so that nobody writes into ours."""
    if isinstance(held, Tensor):
        return held.clone()
    return type(held)(map(copied, held)) if type(held) in (list, tuple) else held


@contextmanager
def step_by_step() -> Iterator[None]:
    """Have attention computed step by step: fused kernels go past the modules, or skip what cannot matter."""
    was = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with sdpa_kernel(SDPBackend.MATH):
            yield
    finally:
        torch.backends.mha.set_fastpath_enabled(was)


class Reads(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Watches for numbers that leave for Python, where they may decide: of ids or masks (`any`), or `floats`.

    A float counts, and what is computed from one; storages are watched, so that views are too.
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

    def _keep(self, given: Iterable[Tensor]) -> None:
        """Remember these, and hold them, so that no other storage takes their place."""
        self._computed |= {_storage(t): t for t in given if t.numel()}


def _storage(tensor: Tensor) -> int:
    return tensor.untyped_storage().data_ptr()
