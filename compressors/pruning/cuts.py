"""Units and columns: where they lie in the tensors of a module, and how they are cut out of them.

Owns the table of module types. A *unit* is one output of a layer (a neuron, a channel); a *column* is one place of the
input dimension along which units arrive. Does not know models, who reads whom, or what is worth keeping.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

Side = Literal["units", "columns"]
Dims = tuple[tuple[str, int], ...]  # names of tensors, and the dimension of each that is cut


@dataclass(frozen=True)
class CutRule:
    """How one type of module is cut: names of its tensors and of its size attributes.

    `dim` is the dimension of the columns in its input and of the units in its output. A module without a `unit` is a
    *follower*, such as BatchNorm: it has columns only, and its output at a column depends on that column (in a
    LayerNorm on the other remaining ones as well).
    """

    unit: Literal["neurons", "channels"] | None
    dim: int
    columns: Dims
    column_sizes: tuple[str, ...]
    units: Dims = ()
    unit_sizes: tuple[str, ...] = ()


_ROWS: Dims = (("weight", 0), ("bias", 0))
_FEATURES = ("weight", 1)
_LINEAR = CutRule("neurons", -1, (_FEATURES,), ("in_features",), _ROWS, ("out_features",))
_TRANSPOSED = CutRule("neurons", -1, (("weight", 0),), ("nx",), (_FEATURES, ("bias", 0)), ("nf",))
_BATCH_NORM = CutRule(None, 1, (*_ROWS, ("running_mean", 0), ("running_var", 0)), ("num_features",))
_LAYER_NORM = CutRule(None, -1, _ROWS, ("normalized_shape",))
_RULES: dict[type, CutRule] = {nn.Linear: _LINEAR, nn.BatchNorm1d: _BATCH_NORM, nn.BatchNorm2d: _BATCH_NORM}


def cut_rule(module: nn.Module) -> CutRule | None:
    """Return how a module is cut, None if that is unknown: a subclass may compute something else."""
    if type(module) in (nn.Conv1d, nn.Conv2d):
        return _conv(module)
    if isinstance(module, nn.LayerNorm) and type(module) is nn.LayerNorm:
        return _LAYER_NORM if len(module.normalized_shape) == 1 else None
    if type(module).__module__ == "transformers.pytorch_utils" and type(module).__name__ == "Conv1D":
        return _TRANSPOSED  # GPT-2's Linear, with the weight as (inputs, outputs)
    return _RULES.get(type(module))


def _conv(module: nn.Module) -> CutRule | None:
    """Return how a convolution is cut, None if it has groups but is not depthwise: those must stay equally large."""
    dim = -2 if isinstance(module, nn.Conv1d) else -3
    if module.groups == 1:
        return CutRule("channels", dim, (_FEATURES,), ("in_channels",), _ROWS, ("out_channels",))
    depthwise = module.groups == module.in_channels == module.out_channels
    return CutRule(None, dim, _ROWS, ("in_channels", "out_channels", "groups")) if depthwise else None


@dataclass(frozen=True)
class Place:
    """The units of one module, or its columns."""

    module: nn.Module
    side: Side
    rule: CutRule

    @property
    def size(self) -> int:
        """The number of units, or of columns."""
        size = getattr(self.module, self._sizes[0])
        return int(size[0] if isinstance(size, tuple) else size)

    @property
    def _sizes(self) -> tuple[str, ...]:
        return self.rule.unit_sizes if self.side == "units" else self.rule.column_sizes

    def tensors(self) -> Iterator[tuple[Tensor, int]]:
        """Return the tensors that are cut, each with the dimension along which it is."""
        dims = self.rule.units if self.side == "units" else self.rule.columns
        pairs = ((getattr(self.module, name), dim) for name, dim in dims)
        return ((tensor, dim) for tensor, dim in pairs if tensor is not None)

    def energy(self) -> Tensor:
        """Return the sum of the squares of each unit's, or column's, parameters: (size,) in float64."""
        total = torch.zeros(self.size, dtype=torch.float64)
        for tensor, dim in self.tensors():
            if isinstance(tensor, nn.Parameter):
                total += tensor.detach().double().movedim(dim, 0).reshape(self.size, -1).square().sum(1).cpu()
        return total

    def cut(self, gone: Sequence[int]) -> None:
        """Remove these, in place: tensors stay the same objects with fewer entries, and lose their gradients."""
        keep = sorted(set(range(self.size)) - set(gone))
        for tensor, dim in self.tensors():
            tensor.grad = None
            tensor.data = tensor.data.index_select(dim, torch.tensor(keep, device=tensor.device))
        for name in self._sizes:
            shaped = isinstance(getattr(self.module, name), tuple)
            setattr(self.module, name, (len(keep),) if shaped else len(keep))

    def silence(self, gone: Sequence[int]) -> None:
        """Set these to zero without removing them."""
        for tensor, dim in self.tensors():
            tensor.data = tensor.data.index_fill(dim, torch.tensor(gone, device=tensor.device), 0)
