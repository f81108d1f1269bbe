"""Large embedding tables learn row by row: a batch costs by the rows that it touches, whatever the table's size.

A row that no sample touches keeps its value, and neither moves nor decays. When it is touched, its moments and its
average are brought from the time when it was last touched to the present in closed form; time is in batches:

    m ← β₁^Δ m + (1 − β₁^s) g    v ← β₂^Δ v + (1 − β₂^s) g²    θ̄ ← θ + kept(Δ) (θ̄ − θ)    θ ← θ − η m̂ / (√v̂ + ε)

Δ is the time since then, s that of this step: Adam's own moments, since the gradients between were zero. Owns these
rows' moments. Does not know models, and what an average keeps is told to it.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from learners.online.settings import BETAS, Online

EPS = 1e-8  # Adam's own
ROWS = 4_096  # a table of more rows learns row by row: from here on that is faster
Kept = Callable[[Tensor, float], Tensor]
Layer = nn.Embedding | nn.EmbeddingBag


class Table:
    """A parameter (R, D) whose rows learn one by one; `mean` is its average, and `last` when each row was touched."""

    def __init__(self, value: nn.Parameter, layers: list[Layer], spec: Online, kept: Kept) -> None:
        self.value, self.layers, self._spec, self._kept = value, layers, spec, kept
        self.first, self.second = torch.zeros_like(value.detach()), torch.zeros_like(value.detach())
        self.last = torch.zeros(len(value), dtype=torch.float64)
        self.mean = value.detach()
        self.now = 0.0

    @torch.no_grad()
    def step(self, slope: Tensor, before: float, now: float, rate: float) -> None:
        """Take a step of the optimizer by the slope of the loss, sparse or dense."""
        rows, g = row_slopes(slope)
        self.now = now
        if not len(rows):
            return
        spec, last = self._spec, self.last[rows]
        value, idle = self.value[rows], (now - last)[:, None]
        kept = self._kept(last, before)[:, None].to(value.dtype)
        mean = torch.lerp(value, self.mean[rows], kept)
        moments, corrected = [], []
        for old, beta, x in ((self.first, BETAS[0], g), (self.second, BETAS[1], g * g)):
            decayed = old[rows] * (beta**idle).to(x.dtype)
            moments.append(decayed.add_(x, alpha=1 - beta ** (now - before)))
            corrected.append(moments[-1] / (1 - beta**now))
        value.mul_(1 - rate * spec.weight_decay)
        value.addcdiv_(corrected[0], corrected[1].sqrt_().add_(EPS), value=-rate)
        mean.lerp_(value, 1 - float(self._kept(torch.tensor(before), now)))
        for tensor, changed in zip(
            (self.value, self.mean, self.first, self.second), (value, mean, *moments), strict=True
        ):
            tensor.index_copy_(0, rows, changed)
        self.last.index_fill_(0, rows, now)

    def average(self, out: Tensor) -> None:
        """Write the average, with all rows at the present time, into `out` (R, D)."""
        kept = self._kept(self.last, self.now)[:, None].to(out.dtype)
        out.copy_(torch.lerp(self.value.detach(), self.mean, kept))

    def settle(self) -> None:
        """Let the average begin again, at the rows as they are."""
        self.mean.copy_(self.value)

    def clear(self, grown: Tensor) -> None:
        """Let entries begin at zero, where `grown` (R, D)."""
        for tensor in (self.mean, self.first, self.second):
            tensor.masked_fill_(grown, 0)

    def state(self) -> dict[str, Tensor]:
        """Return all but the values: of the rows that were ever touched."""
        rows = self.last.nonzero()[:, 0]
        parts = {"last": self.last, "mean": self.mean, "first": self.first, "second": self.second}
        return {"rows": rows, "now": torch.tensor(self.now)} | {name: t[rows] for name, t in parts.items()}

    def load(self, state: Mapping[str, Tensor]) -> None:
        """Go on from `state`; the values are those of then already."""
        rows, self.now = state["rows"], float(state["now"])
        self.settle()
        for name, tensor in (("last", self.last), ("mean", self.mean), ("first", self.first), ("second", self.second)):
            if name != "mean":
                tensor.zero_()
            tensor.index_copy_(0, rows, state[name])


def find(model: nn.Module, spec: Online, kept: Kept) -> dict[str, Table]:
    """Return the tables of a model by their parameter's name: large embeddings, and those with sparse gradients.

    A parameter that other layers use too is none, nor one that its layer changes itself (`max_norm`).
    """
    layers: dict[nn.Parameter, list[Layer]] = {}
    for module in model.modules():
        if isinstance(module, Layer) and (weight := _by_rows(module)) is not None:
            layers.setdefault(weight, []).append(module)
    for module in model.modules():
        for parameter in module.parameters(recurse=False):
            if parameter in layers and module not in layers[parameter]:
                del layers[parameter]
    names = model.named_parameters()
    return {name: Table(p, layers[p], spec, kept) for name, p in names if p in layers and p.requires_grad}


def _by_rows(layer: Layer) -> nn.Parameter | None:
    """Return the layer's weight, if it can learn row by row and should."""
    large = layer.num_embeddings >= ROWS and not layer.scale_grad_by_freq and getattr(layer, "mode", "") != "max"
    return layer._parameters.get("weight") if layer.max_norm is None and (layer.sparse or large) else None


@contextmanager
def by_rows(tables: Mapping[str, Table]) -> Iterator[None]:
    """Let the tables' slopes be sparse until the block ends."""
    before = [(layer, layer.sparse) for table in tables.values() for layer in table.layers]
    for layer, _ in before:
        layer.sparse = True
    try:
        yield
    finally:
        for layer, was in before:
            layer.sparse = was


def row_slopes(slope: Tensor) -> tuple[Tensor, Tensor]:
    """Return which rows have a slope (n,), and these (n, D)."""
    if not slope.is_sparse:
        return torch.arange(len(slope)), slope
    slope = slope.coalesce()
    return slope.indices()[0], slope.values()
