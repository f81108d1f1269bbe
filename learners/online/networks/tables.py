"""Large embedding tables learn row by row: a batch costs by the rows that it touches, whatever the table's size.

A row that no sample touches keeps its value, and neither moves nor decays. When it is touched, its second moment and
its average are brought from the time when it was last touched to the present in closed form; time is in batches:

    v ← β₂^Δ v + (1 − β₂^s) g²    θ ← θ − η g / (√v̂ + ε)    δ ← kept(Δ) δ − the change of θ

Δ is the time since then, s that of this step: v is Adam's own, since the slopes between were zero. Adam's first moment
would go on to move the row in the batches after, by as much altogether; here that is done at once (50,000 rows of a
Zipf law: log loss 0.6051, as dense AdamW; with the first moment, but no later moves, 0.6304). δ is θ̄ − θ. Owns v and δ
of these rows, beside each other in memory: the system then gives and fetches pages for the touched rows alone. Does not
know models, and what an average keeps is told to it.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Protocol

import torch
from torch import Tensor, nn

from learners.online.settings import BETAS, EPS, Online

ROWS = 4_096  # a table of more rows learns row by row: from here on that is faster
Layer = nn.Embedding | nn.EmbeddingBag


class Keeps(Protocol):
    """What an average keeps between two times."""

    def kept(self, before: float, now: float) -> float:
        """Return the share of the old average that is kept."""
        ...

    def each_kept(self, before: Tensor, now: float) -> Tensor:
        """Return the same for many times, float64."""
        ...


class Table:
    """A parameter (R, D) whose rows learn one by one.

    `rows` (R, 2 D) has v and δ of each row; `last` (R,) is when each was touched, 0: never; `now` the last step's.
    """

    def __init__(self, value: nn.Parameter, layers: list[Layer], spec: Online, memory: Keeps) -> None:
        self.value, self.layers, self._spec, self._memory = value, layers, spec, memory
        self.rows = torch.zeros(len(value), 2 * value.shape[1])
        self.last = torch.zeros(len(value), dtype=torch.float64)
        self.now = 0.0

    @torch.no_grad()
    def step(self, slope: Tensor, before: float, now: float, rate: float) -> None:
        """Take a step of the optimizer, sparse or dense, from the time `before` to `now`."""
        at, g = row_slopes(slope)
        self.now = now
        if not len(at):
            return
        old, last = self.value.index_select(0, at), self.last[at]
        rows, beta = self.rows.index_select(0, at), BETAS[1]
        v, apart = rows.chunk(2, 1)  # views
        v.mul_((beta ** (now - last)[:, None]).float()).addcmul_(g, g, value=1 - beta ** (now - before))
        root = (v / (1 - beta**now)).sqrt_().add_(EPS)
        new = (old * (1 - rate * self._spec.weight_decay)).addcdiv_(g, root, value=-rate)
        apart.mul_(self._memory.each_kept(last, before)[:, None].float()).add_(old - new)
        apart.mul_(self._memory.kept(before, now))
        self.value.index_copy_(0, at, new)
        self.rows.index_copy_(0, at, rows)
        self.last.index_fill_(0, at, now)

    def average(self, out: Tensor) -> None:
        """Add the average's distance at the present time to the values in `out` (R, D)."""
        out.addcmul_(self.rows.chunk(2, 1)[1], self._memory.each_kept(self.last, self.now)[:, None].to(out.dtype))

    def settle(self) -> None:
        """Let the average begin again, at the rows as they are."""
        self.rows.chunk(2, 1)[1].zero_()

    def begin(self) -> None:
        """Begin again, at the rows as they are, and at the time 0."""
        self.rows.zero_()
        self.last.zero_()
        self.now = 0.0

    def clear(self, grown: Tensor) -> None:
        """Let entries begin at zero, where `grown` (R, D): their values are zero already."""
        self.rows.masked_fill_(grown.repeat(1, 2), 0)

    def state(self) -> dict[str, Tensor]:
        """Return all but the values: of the rows that were ever touched."""
        at = self.last.nonzero()[:, 0]
        now = torch.tensor(self.now, dtype=torch.float64)
        return {"at": at, "rows": self.rows[at], "last": self.last[at], "now": now}

    def load(self, state: Mapping[str, Tensor]) -> None:
        """Go on from `state`; the values are those of then already."""
        self.now = float(state["now"])
        self.rows = torch.zeros_like(self.rows).index_copy_(0, state["at"], state["rows"])
        self.last = torch.zeros_like(self.last).index_copy_(0, state["at"], state["last"])


def find(model: nn.Module, spec: Online, memory: Keeps) -> dict[str, Table]:
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
    return {name: Table(p, layers[p], spec, memory) for name, p in names if p in layers and p.requires_grad}


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
