"""Which columns read which units: found by running the model, not by reading its code.

Owns the probing. Every module with weights replays what it said once, so that only what lies between is computed. Some
units of one layer are replaced by NaN, which no arithmetic forgets (NaN propagation, Sharpe, arXiv 2507.23186); where
it arrives, those units are read. Twice log2(n) such runs tell all n units apart: run k marks those whose k-th bit is
set, then those whose is not; a column marked by both reads more than one. What is found holds for the way that the
inputs take through the model. Does not know what is removed, or why.
"""

import math
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from compressors.between import Reads, copied, instead, step_by_step, tensors
from compressors.cuts import kind_of

TROUBLE = (ArithmeticError, AssertionError, AttributeError, LookupError, RuntimeError, TypeError, ValueError)
CLEAN, MIXED = -1, -2


class Lost(RuntimeError):
    """These units cannot be followed; the message says why."""


@dataclass(frozen=True, eq=False)
class Source:
    """Units that are removed one by one: unit u is the outputs `index[u]` (n, k) of each of `parts`."""

    name: str
    unit: str
    parts: tuple[tuple[nn.Module, Tensor], ...]
    owner: nn.Module
    sizes: tuple[tuple[str, int], ...] = ()  # attributes of the owner beside the parts' own, and their size by unit

    @property
    def count(self) -> int:
        """How many units there are."""
        return len(self.parts[0][1])


class Stage:
    """A model in eval mode whose modules with weights can be made to replay what they said of `inputs`.

    Raises:
        Lost: the forward reads numbers and decides by them, so other data may take another way.
    """

    def __init__(self, model: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        self.model, self.inputs = model, inputs
        self.names = {module: name for name, module in model.named_modules()}
        self.shared = _shared(model)
        self.kinds = {m: k for m in self.names if m not in self.shared and (k := kind_of(m))}
        others = (m for m in self.names if m not in self.kinds and next(m.children(), None) is None)
        self.stations = [*self.kinds, *(m for m in others if next(m.parameters(), None) is not None)]
        self.said: dict[nn.Module, list[Any]] = {m: [] for m in self.stations}
        with instead(self.stations, self._listen), step_by_step(), Reads(model, inputs) as reads:
            model(*copied(inputs))
        if reads.floats or (reads.any and not all(map(self.called, self.kinds))):
            raise Lost("its forward decides by the data, so what is read here tells nothing of other data")

    def _listen(self, module: nn.Module) -> Callable[..., Any]:
        forward = module.forward

        def heard(*args: Any, **kwargs: Any) -> Any:
            out = forward(*args, **kwargs)
            self.said[module].append(copied(out))
            return out

        return heard

    def called(self, module: nn.Module) -> bool:
        """Whether the forward came by."""
        return bool(self.said[module])

    def readers(self, source: Source) -> dict[nn.Module, Tensor]:
        """Give for each column (F,) of each module that reads the source the unit that it reads, or CLEAN.

        Raises:
            Lost: the units arrive where they cannot be cut, or mixed, or not all of them.
        """
        if not all(self.called(module) for module, _ in source.parts):
            raise Lost("the forward does not call it with these inputs")
        code = torch.arange(source.count)
        reached = _Run(self, source, code >= 0)
        if reached.ends:
            raise Lost(f"its units reach {' and '.join(sorted(reached.ends))}, where they cannot be cut")
        found = {m: torch.where(marked, 0, CLEAN) for m, marked in reached.columns.items() if bool(marked.any())}
        for bit in range(max(1, (source.count - 1).bit_length())):
            on, off = (_Run(self, source, (code >> bit & 1) == value).columns for value in (1, 0))
            for module, unit in found.items():
                unit[unit >= 0] |= on[module].long()[unit >= 0] << bit
                unit[on[module] & off[module]] = MIXED
        self._check(source, found)
        return found

    def _check(self, source: Source, found: Mapping[nn.Module, Tensor]) -> None:
        for module, unit in found.items():
            if bool((unit == MIXED).any()):
                raise Lost(f"its units are mixed before {self.names[module]!r} reads them")
        read = {unit for units in found.values() for unit in units.tolist()} - {CLEAN}
        if len(read) != source.count:
            raise Lost(f"of its {source.count} units {len(read)} are read by a layer that can be cut")


class _Run:
    """One forward in which the chosen (n,) units of a source are NaN; `columns` (F,) and `ends` say where it arrived.

    Raises:
        Lost: the forward failed, or took another way than it did before.
    """

    def __init__(self, stage: Stage, source: Source, chosen: Tensor) -> None:
        self._stage, self._calls = stage, Counter[nn.Module]()
        self._marks = {module: index[chosen].flatten() for module, index in source.parts}
        self.columns: dict[nn.Module, Tensor] = {}
        self.ends: set[str] = set()
        try:
            with instead(stage.stations, lambda module: partial(self._answer, module)), step_by_step():
                output = stage.model(*copied(stage.inputs))
        except TROUBLE as wrong:
            raise Lost(f"its forward cannot be followed: {wrong}") from wrong
        if any(self._calls[m] != len(said) for m, said in stage.said.items()):
            raise Lost("its forward takes another way when numbers are missing")
        if any(map(_has_nan, tensors(output))):
            self.ends.add("the model's output")

    def _answer(self, module: nn.Module, *args: Any, **kwargs: Any) -> Any:
        said, kind = self._stage.said[module], self._stage.kinds.get(module)
        if self._calls[module] == len(said):
            raise Lost("a layer is called once more when numbers are missing")
        out = copied(said[self._calls[module]])
        self._calls[module] += 1
        given = list(tensors((args, kwargs)))
        if kind is None:
            if any(map(_has_nan, given)):
                self.ends.add(f"{self._stage.names[module]!r} ({type(module).__name__})")
            return out
        marked = given[0].isnan().movedim(kind.dim, 0).flatten(1).any(1).cpu()
        self.columns[module] = self.columns.get(module, torch.zeros_like(marked)) | marked
        marks = marked.nonzero()[:, 0] if kind.unit is None else self._marks.get(module)
        return out if marks is None else out.index_fill(kind.dim, marks.to(out.device), math.nan)


def _has_nan(tensor: Tensor) -> bool:
    return tensor.is_floating_point() and bool(tensor.isnan().any())


def _shared(model: nn.Module) -> dict[nn.Module, str]:
    """Modules whose parameters are other modules' too, with one of those names."""
    owners: dict[nn.Parameter, list[tuple[str, nn.Module]]] = defaultdict(list)
    for name, module in model.named_modules():
        for parameter in module.parameters(recurse=False):
            owners[parameter].append((name, module))
    pairs = [(own, other) for them in owners.values() for own in them for other in them if own is not other]
    return {module: name for (_, module), (name, _) in pairs}
