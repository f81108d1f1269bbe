"""Which weights a model reads past their layers: found by running it, not by reading its code.

A compressed layer computes with other numbers than its parameter holds, so a forward that reads the parameter itself,
as a head does that multiplies by `self.emb.weight`, would compute one thing in training and another when served. Owns
how such reads are noticed: every operation on a weight's memory is watched, and who runs it. What gives no number away
(shape, type, a view that nobody reads) is none. The result holds for the path that these inputs take through the model.
"""

from collections import defaultdict
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from compressors.form import weights_of
from compressors.internals import TorchDispatchMode
from compressors.norms import any_rows
from compressors.pruning.hooks import instead, step_by_step, tensors

READ = "its weight is read outside its forward (by {}), where it would not be the number that is served"
REPLACED = "its weight is replaced while the model runs"
MADE_LIKE = ("new_", "_like")  # operations that take a tensor's type and shape alone
TO_PYTHON = ("tolist", "numpy", "__array__")  # what no dispatcher sees


def read_past(model: nn.Module, inputs: Sequence[Tensor], *, training: bool = False) -> dict[str, str]:
    """Return the weights that a forward reads past their layers, by name in the model, and why each must stay in float.

    `inputs` is an example batch of a few rows; the model, a copy that may be changed, runs on it in eval mode, and with
    `training` in training mode too.

    >>> import torch
    >>> class Tied(torch.nn.Module):
    ...     def __init__(self):
    ...         super().__init__()
    ...         self.emb = torch.nn.Embedding(9, 4)
    ...     def forward(self, x):
    ...         return self.emb(x).mean(1) @ self.emb.weight.t()
    >>> list(read_past(Tied(), (torch.zeros(2, 3, dtype=torch.long),)))
    ['emb.weight']
    """
    watch = _Watch(model)
    with torch.random.fork_rng(devices=[]), torch.no_grad(), ExitStack() as undo:
        undo.enter_context(step_by_step())  # fused kernels take a layer's weights from its encoder
        undo.enter_context(instead(watch.owners, watch.run))
        for mode in (False, True)[: 1 + training]:
            model.train(mode)
            with any_rows(model), watch, _ToPython(watch):
                model(*inputs)
    return watch.found


def is_read_past(why: str) -> bool:
    """Return whether a reason to stay in float is one of `read_past`."""
    return why.startswith((READ.partition("(")[0], REPLACED))


class _Watch(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """`found` has the weights that were read while no layer that owns them ran, by name, with the reason."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.found: dict[str, str] = {}
        self.owners: dict[nn.Module, dict[str, nn.Parameter]] = {}
        self._running: list[nn.Module] = []
        self._names: dict[int, list[str]] = defaultdict(list)
        self._allowed: dict[int, set[nn.Module]] = defaultdict(set)
        for path, layer in model.named_modules():
            own = {name: p for name in weights_of(layer) if (p := layer._parameters.get(name)) is not None}
            if own:
                self.owners[layer] = own
            for name, weight in own.items():
                self._names[_memory(weight)].append(f"{path}.{name}" if path else name)
                self._allowed[_memory(weight)].add(layer)
        for attention in model.modules():
            if isinstance(attention, nn.MultiheadAttention):  # reads the weight of its last layer itself
                self._allowed[_memory(attention.out_proj.weight)].add(attention)

    def run(self, layer: nn.Module) -> Callable[..., Any]:
        """Return a layer's forward, which may read its own weights."""
        forward = layer.forward

        def running(*args: Any, **named: Any) -> Any:
            for name, weight in self.owners[layer].items():
                if layer._parameters.get(name) is not weight:
                    self._find(_memory(weight), REPLACED)
            self._running.append(layer)
            try:
                return forward(*args, **named)
            finally:
                self._running.pop()

        return running

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func.overloadpacket.__name__
        if not (func.is_view or name.startswith(MADE_LIKE[0]) or name.endswith(MADE_LIKE[1])):
            self.read(name, (args, kwargs or {}))
        return func(*args, **(kwargs or {}))

    def read(self, operation: str, arguments: Any) -> None:
        """Note the weights among an operation's arguments."""
        for tensor in tensors(arguments):
            memory = _memory(tensor)
            if memory in self._names and self._allowed[memory].isdisjoint(self._running):
                self._find(memory, READ.format(operation))

    def _find(self, memory: int, why: str) -> None:
        self.found |= dict.fromkeys(self._names[memory], why)


class _ToPython(TorchFunctionMode):
    """Notices the ways to Python by which no operation passes."""

    def __init__(self, watch: _Watch) -> None:
        super().__init__()
        self._watch = watch

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = getattr(func, "__name__", "")
        if name in TO_PYTHON:
            self._watch.read(name, args)
        return func(*args, **(kwargs or {}))


def _memory(tensor: Tensor) -> int:
    """Return where a tensor's numbers lie, 0 if nowhere."""
    return tensor.untyped_storage().data_ptr() if tensor.layout is torch.strided and tensor.numel() else 0
