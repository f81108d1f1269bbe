"""Which columns read which units: found by running the model, not by reading its code.

Owns the tracing. Every module with weights replays the outputs that it once gave, so only the operations between
modules are computed. Some units of a layer are replaced by NaN, which survives any arithmetic (NaN propagation, Sharpe,
arXiv 2507.23186); where it arrives, those units are read. Two runs for each of the log2(n) bits tell n units apart: one
marks the units whose index has the bit, one those whose index has not; a column marked by both reads more than one
unit. Each layer's units are counted from 0, so the same runs serve all layers. The result holds for the path that these
inputs take through the model. Does not know what is removed, or why.
"""

import math
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from compressors.errors import Lost
from compressors.pruning.cuts import cut_rule
from compressors.pruning.hooks import Reads, cloned, instead, step_by_step, tensors

TROUBLE = (ArithmeticError, AssertionError, AttributeError, LookupError, RuntimeError, TypeError, ValueError)
"""What a forward may raise where numbers are missing or tensors were cut."""

CLEAN, MIXED = -1, -2  # of a column: it reads no unit, or more than one
Columns = dict[nn.Module, Tensor]  # what each column (F,) of a module reads


class Part(NamedTuple):
    """A module, and which of its `outputs` (n, k), by index, each of n units consists of."""

    module: nn.Module
    outputs: Tensor


@dataclass(frozen=True, eq=False)
class Source:
    """Units that can be removed one by one: unit u is the `outputs[u]` of each of the parts."""

    name: str
    unit: str
    parts: tuple[Part, ...]
    owner: nn.Module
    sizes: tuple[tuple[str, int], ...] = ()  # more attributes of the owner, and the size of one unit in each

    @property
    def count(self) -> int:
        """The number of units."""
        return len(self.parts[0].outputs)


class Stage:
    """A model in eval mode whose modules with weights can replay their outputs for `inputs`.

    Raises:
        Lost: the forward reads numbers and decides by them, so other data may take another path.
    """

    def __init__(self, model: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        self.model, self.inputs = model, inputs
        self.names = {module: name for name, module in model.named_modules()}
        self.shared = _shared(model)
        self.rules = {m: rule for m in self.names if m not in self.shared and (rule := cut_rule(m))}
        others = (m for m in self.names if m not in self.rules and next(m.children(), None) is None)
        self.stations = [*self.rules, *(m for m in others if next(m.parameters(), None) is not None)]
        self.outputs: dict[nn.Module, list[Any]] = {m: [] for m in self.stations}
        with instead(self.stations, self._listen), step_by_step(), Reads(model, inputs) as reads:
            model(*cloned(inputs))
        if reads.floats or (reads.any and not all(map(self.called, self.rules))):
            raise Lost("its forward decides by the data, so what is found with these rows may not hold for others")

    def _listen(self, module: nn.Module) -> Callable[..., Any]:
        forward = module.forward

        def recorded(*args: Any, **kwargs: Any) -> Any:
            out = forward(*args, **kwargs)
            self.outputs[module].append(cloned(out))
            return out

        return recorded

    def called(self, module: nn.Module) -> bool:
        """Return whether the forward called the module."""
        return bool(self.outputs[module])

    def trace(self, sources: Iterable[Source]) -> tuple[dict[Source, Columns], dict[Source, str]]:
        """Return for each source, by each module that reads it, what each column (F,) reads: a unit, or CLEAN.

        The second value has the sources that are lost, and why: their units arrive where they cannot be cut, or mixed,
        or not all of them arrive.
        """
        reached, lost = dict[Source, Columns](), dict[Source, str]()
        for source in sources:
            try:
                reached[source] = self._reached(source)
            except Lost as why:
                lost[source] = str(why)
        readers = self._all(reached)
        for source in reached:
            try:
                if source not in readers:
                    readers |= self._tell_apart({source: reached[source]})
                self._check(source, readers[source])
            except Lost as why:
                lost[source] = str(why)
        return {source: columns for source, columns in readers.items() if source not in lost}, lost

    def _reached(self, source: Source) -> Columns:
        if not all(self.called(module) for module, _ in source.parts):
            raise Lost("the forward does not call it with these inputs")
        run = _Run(self, {source: torch.ones(source.count, dtype=torch.bool)})
        if run.ends:
            raise Lost(f"its units reach {' and '.join(sorted(run.ends))}, where they cannot be cut")
        return {module: marked for module, marked in run.columns.items() if bool(marked.any())}

    def _all(self, reached: Mapping[Source, Columns]) -> dict[Source, Columns]:
        """Tell the units of all sources apart at once, each counted from 0; return the sources for which this works.

        A column that reads units of several sources, as after a sum, is clear if they have the same number.
        """
        try:
            readers = self._tell_apart(reached)
        except Lost:
            return {}
        return {source: columns for source, columns in readers.items() if not any(map(_mixed, columns.values()))}

    def _tell_apart(self, reached: Mapping[Source, Columns]) -> dict[Source, Columns]:
        codes = {source: torch.arange(source.count) for source in reached}
        units: Columns = defaultdict(lambda: torch.zeros((), dtype=torch.long))
        mixed: Columns = defaultdict(lambda: torch.zeros((), dtype=torch.bool))
        most = max(map(len, codes.values()), default=0)
        for bit in range(max(1, (most - 1).bit_length())):
            on, off = (_Run(self, {s: (c >> bit & 1) == value for s, c in codes.items()}).columns for value in (1, 0))
            for module, marked in on.items():
                units[module] = units[module] | marked.long() << bit
                mixed[module] = mixed[module] | marked & off[module]
        units = {module: torch.where(mixed[module], MIXED, unit) for module, unit in units.items()}
        return {
            source: {module: torch.where(marked, units[module], CLEAN) for module, marked in columns.items()}
            for source, columns in reached.items()
        }

    def _check(self, source: Source, columns: Columns) -> None:
        for module, units in columns.items():
            if _mixed(units):
                raise Lost(f"its units are mixed before {self.names[module]!r} reads them")
        read = {unit for units in columns.values() for unit in units.tolist()} - {CLEAN}
        if len(read) != source.count:
            raise Lost(f"of its {source.count} units {len(read)} are read by a layer that can be cut")


class _Run:
    """One forward in which the chosen (n,) units of each source are NaN.

    `columns` marks for each module the columns (F,) that they reach; `ends` names where they arrive and cannot be cut.

    Raises:
        Lost: the forward failed, or called other layers than before.
    """

    def __init__(self, stage: Stage, chosen: Mapping[Source, Tensor]) -> None:
        self._stage, self._calls = stage, Counter[nn.Module]()
        self._marks = {m: index[units].flatten() for source, units in chosen.items() for m, index in source.parts}
        self.columns: Columns = {}
        self.ends: set[str] = set()
        try:
            with instead(stage.stations, lambda module: partial(self._answer, module)), step_by_step():
                output = stage.model(*cloned(stage.inputs))
        except TROUBLE as wrong:
            raise Lost(f"its forward cannot be traced: {wrong}") from wrong
        if any(self._calls[m] != len(outputs) for m, outputs in stage.outputs.items()):
            raise Lost("its forward takes another path when numbers are missing")
        if any(map(_has_nan, tensors(output))):
            self.ends.add("the model's output")

    def _answer(self, module: nn.Module, *args: Any, **kwargs: Any) -> Any:
        outputs, rule = self._stage.outputs[module], self._stage.rules.get(module)
        if self._calls[module] == len(outputs):
            raise Lost("a layer is called once more when numbers are missing")
        out = cloned(outputs[self._calls[module]])
        self._calls[module] += 1
        inputs = list(tensors((args, kwargs)))
        if rule is None:
            if any(map(_has_nan, inputs)):
                self.ends.add(f"{self._stage.names[module]!r} ({type(module).__name__})")
            return out
        marked = inputs[0].isnan().movedim(rule.dim, 0).flatten(1).any(1).cpu()
        self.columns[module] = self.columns.get(module, torch.zeros_like(marked)) | marked
        marks = marked.nonzero()[:, 0] if rule.unit is None else self._marks.get(module)
        return out if marks is None else out.index_fill(rule.dim, marks.to(out.device), math.nan)


def _mixed(units: Tensor) -> bool:
    return bool((units == MIXED).any())


def _has_nan(tensor: Tensor) -> bool:
    return tensor.is_floating_point() and bool(tensor.isnan().any())


def _shared(model: nn.Module) -> dict[nn.Module, str]:
    """Return the modules that share a parameter with others, each with the name of one of those."""
    owners: dict[nn.Parameter, list[tuple[str, nn.Module]]] = defaultdict(list)
    for name, module in model.named_modules():
        for parameter in module.parameters(recurse=False):
            owners[parameter].append((name, module))
    pairs = [(own, other) for them in owners.values() for own in them for other in them if own is not other]
    return {module: name for (_, module), (name, _) in pairs}
