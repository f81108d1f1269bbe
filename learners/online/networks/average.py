"""The average of a network's weights, from which candidates are made: it counts samples, not steps.

Owns how long the average remembers, and what it does with each kind of tensor:

- a parameter that learns is averaged, θ̄ ← a θ̄ + (1 − a) θ;
- running statistics of a norm are measured anew: θ̄ runs on each batch too, since they depend on the weights before
  (tables that learn row by row are in this as they are, not averaged);
- all other buffers are the model's own, and so are parameters that do not learn, and masks: none is stored twice.

After t batches 1 − a is 2 / t (a mean that weighs θ_t by t: Shamir & Zhang, arXiv 1212.1824), until that is less than a
half-life h of the samples gives. So a young average forgets how it began. Does not know optimizers.
"""

import copy
import math
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from compressors.internals import Norm, lerp_
from compressors.norms import any_rows, frozen
from compressors.scale import Scale, put
from learners.online.batches import Inputs
from learners.online.networks.tables import Table
from learners.online.networks.tensors import tensors

YOUNG = 4.0  # 1 − a is YOUNG / t in the beginning
STATISTICS = ("running_mean", "running_var", "num_batches_tracked")


class Memory:
    """What an average of half-life `half_life` keeps; time is in batches since its model was new."""

    def __init__(self, half_life: float) -> None:
        self._rate = math.log(2) / half_life
        self._turn = YOUNG / self._rate  # when both rates are equal

    def kept(self, before: float, now: float) -> float:
        """Return the share of the old average that is kept from the time `before` to `now`."""
        return math.exp(self._log(before) - self._log(now)) if before > 0 else 0.0

    def each_kept(self, before: Tensor, now: float) -> Tensor:
        """Return what `kept` does for many times, float64."""
        if now <= 0:
            return torch.zeros_like(before)
        young = YOUNG * (before / self._turn).log()  # -inf at 0: nothing is kept
        log = torch.where(before < self._turn, young, (before - self._turn) * self._rate)
        return log.sub_(self._log(now)).exp_()

    def _log(self, t: float) -> float:
        return YOUNG * math.log(t / self._turn) if t < self._turn else (t - self._turn) * self._rate


class Average:
    """The average of `model`; `tables` learn row by row, and average so."""

    def __init__(self, model: nn.Module, memory: Memory, tables: Mapping[str, Table]) -> None:
        self._model, self._memory, self._tables = model, memory, tables
        self._norms = {name for name, m in model.named_modules() if isinstance(m, Norm) and _measured(m)}
        averaged = {name: p for name, p in model.named_parameters() if p.requires_grad}
        measured = {f"{name}.{b}" if name else b for name in self._norms for b in STATISTICS}
        own = {id(t) for name, t in averaged.items() if name not in tables}
        own |= {id(model.get_buffer(name)) for name in measured}
        shared = {id(t): t for t in (*model.parameters(), *model.buffers()) if id(t) not in own}
        self._copy = copy.deepcopy(model, shared).eval()
        dense = [name for name in averaged if name not in tables]
        self._own = {name: self._copy.get_parameter(name).detach() for name in dense}
        self._values, self._means = [averaged[name].detach() for name in dense], list(self._own.values())
        self._own |= {name: self._copy.get_buffer(name) for name in measured}

    @property
    def model(self) -> nn.Module:
        """The model with the averaged weights. With tables it is a copy, made for each call."""
        self._join()
        if not self._tables:
            return self._copy
        made = copy.deepcopy(self._copy)
        for name, table in self._tables.items():
            table.average(made.get_parameter(name).detach())
        return made

    def tensors(self) -> dict[str, Tensor]:
        """Return what is the average's own, without tables, by name."""
        return dict(self._own)

    def restore(self, saved: Mapping[str, Tensor]) -> None:
        """Give `tensors` back."""
        for name, tensor in self._own.items():
            tensor.copy_(saved[name])

    def carry(self, scale: Scale) -> None:
        """Let the average answer in the unit of a scale, as the model does."""
        put(self._copy, scale)
        self._join()

    def settle(self) -> None:
        """Begin again, at the weights and statistics as they are."""
        self.restore(tensors(self._model))
        for table in self._tables.values():
            table.settle()

    def follow(self, before: float, now: float) -> None:
        """Move by a step of the optimizer, which ended at the time `now`; the one before, at `before`."""
        if self._means:
            lerp_(self._means, self._values, 1 - self._memory.kept(before, now))

    def measure(self, inputs: Inputs, share: float) -> None:
        """Let the norms' statistics follow those of a batch, of which the inputs are this share."""
        if not self._norms:
            return
        self._join()
        own = {id(t) for t in self._own.values()}
        others = [b for b in self._copy.buffers() if id(b) not in own]
        before = [b.clone() for b in others]
        for name in self._norms:
            self._copy.get_submodule(name).train()
        with torch.no_grad(), any_rows(self._copy, share):
            self._copy(*inputs)
        self._copy.eval()
        for buffer, value in zip(others, before, strict=True):
            buffer.copy_(value)

    def _join(self) -> None:
        """Let all buffers but the statistics be the model's own: a forward may have made one anew."""
        for (name, model), mean in zip(self._model.named_modules(), self._copy.modules(), strict=True):
            if name not in self._norms:
                mean._buffers = model._buffers


def _measured(norm: Norm) -> bool:
    return norm.running_mean is not None and not frozen(norm)
