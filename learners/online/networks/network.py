"""One network that learns in batches, whose rows may come in parts, with its optimizer and the average of its weights.

Owns one training step, and the state that the next one needs. Does not know samples, commits or that there are two
such networks. Methods: AdamW at a constant rate, on the slopes of a whole batch: they are summed over its parts, so the
step is the same however the batch is cut. The log loss of the averaged weights on the flights is 0.499 where that of
the weights is 0.597.
"""

import copy
import math
from collections.abc import Collection, Iterator, Mapping
from contextlib import ExitStack
from typing import Protocol

import torch
from torch import Tensor, nn

from compressors.form import weights
from compressors.internals import norm, scale_
from compressors.norms import any_rows, running
from compressors.pruning.refresh import dense_slopes, refresh
from compressors.quantization.layers import Kept, ShadowRows, rounding_once
from compressors.scale import Scale, put
from learners.online.batches import Inputs
from learners.online.networks import noise, tables
from learners.online.networks.adamw import AdamW
from learners.online.networks.average import Average, Memory
from learners.online.networks.tensors import restore, tensors
from learners.online.settings import BETAS, Online
from learners.tasks.task import Task
from streams.errors import NotFinite

SHRINK, PERTURB = 0.5, 0.5  # of the weights in a changed world, and of fresh ones


class Losses(Protocol):
    """By what a network learns."""

    def losses(self, output: Tensor, target: Tensor) -> Tensor:
        """Return the loss of each row, shape (N,)."""


class Network:
    """One network: `model` learns, and `mean` has the average of its weights. `clock` counts batches."""

    def __init__(self, model: nn.Module, spec: Online, secret: bytes = b"") -> None:
        """`secret` is what the noise of private updates is drawn by; each network has its own."""
        self.model, self._spec, self.clock = model, spec, 0.0
        self._private, self._secret = spec.private, secret
        if self._private:
            noise.check_rows_alone(model)
        memory = Memory(spec.half_life / spec.batch)
        self._tables = {} if self._private else tables.find(model, spec, memory)  # noise is on all rows
        self._average = Average(model, memory, self._tables)
        by_rows = {id(table.value) for table in self._tables.values()}
        self._named = {name: p for name, p in model.named_parameters() if p.requires_grad}
        dense = [p for p in self._named.values() if id(p) not in by_rows]
        self._optimizer = AdamW(dense, spec.weight_decay)
        self._norms = bool(running(model))
        self._rounded: dict[ShadowRows, dict[str, Kept]] = {m: {} for m in model.modules() if isinstance(m, ShadowRows)}
        model.train()
        self._norm = 0.0  # of the slopes gathered so far
        self._explored: dict[str, Tensor] = {}  # slopes of the weights that may be refreshed

    @property
    def mean(self) -> nn.Module:
        """The average: parameters that learn are averaged, running statistics measured anew, all else is `model`'s."""
        return self._average.model

    def student(self) -> nn.Module:
        """Return a copy of the average, to train: what does not learn in `model` does not learn there."""
        return copy.deepcopy(self.mean)

    def carry(self, scale: Scale) -> None:
        """Let the model compute in units of a label's spread, and answer in the label's own unit."""
        put(self.model, scale)
        self._average.carry(scale)

    def answer(self, inputs: Inputs) -> Tensor:
        """Return the answers (N, K) as they would be served."""
        self.model.eval()
        with torch.no_grad():
            output: Tensor = self.model(*inputs)
        return output

    def learn(self, inputs: Inputs, target: Tensor, task: Task) -> Tensor:
        """Train on a whole batch of any size, which counts as one step; return what `gather` does. Nothing is private.

        Raises:
            NotFinite: as `gather`.
        """
        output = self._gather(inputs, target, task, len(target))
        self._step(len(target), len(target))
        return output

    def gather(self, inputs: Inputs, target: Tensor, task: Losses, of: int) -> Tensor:
        """Add the slopes of N rows of a batch `of` so many; return the answers (N, K) in training mode.

        Raises:
            NotFinite: the loss or its gradient is not finite. The weights are as before; other state may not be.
        """
        return (self._gather_private if self._private else self._gather)(inputs, target, task, of)

    def _gather_private(self, inputs: Inputs, target: Tensor, task: Losses, of: int) -> Tensor:
        if not self._private:
            raise ValueError("this network's updates are not private")

        def rows() -> Iterator[tuple[Tensor, Tensor]]:
            for i in range(len(target)):
                output: Tensor = self.model(*(t[i : i + 1] for t in inputs))
                yield output, task.losses(output, target[i : i + 1]).sum()

        with self._training(), rounding_once(self._rounded):
            answers, losses = noise.add_clipped(self.model, self._named, rows(), self._private.clip, of)
        self._check(float(losses.mean()), norm(self._slopes()))
        return answers

    def _gather(self, inputs: Inputs, target: Tensor, task: Losses, of: int) -> Tensor:
        share = len(target) / of
        with self._training(share), rounding_once(self._rounded if share < 1 else {}):
            output: Tensor = self.model(*inputs)
            total = task.losses(output, target).sum()
            total.backward(torch.full_like(total, 1 / of))  # type: ignore[no-untyped-call]
        self._norm = norm(self._slopes())
        self._check(float(total.detach()) / len(target), self._norm)
        self._average.measure(inputs, share)
        return output.detach()

    def _check(self, loss: float, slope: float) -> None:
        if not math.isfinite(loss + slope):
            raise NotFinite(f"the loss is {loss:g}, its gradient's norm {slope:g}")

    def _training(self, share: float = 1.0) -> ExitStack:
        """Let the model train on any number of rows until the block ends, and its tables row by row."""
        if not self.model.training:
            self.model.train()
        undo = ExitStack()
        if self._norms:
            undo.enter_context(any_rows(self.model, share))
        if self._tables:
            undo.enter_context(tables.by_rows(self._tables))
        return undo

    def step(self, count: int, of: int) -> None:
        """Take the optimizer's step with the slopes of the `count` rows gathered, of a batch `of` so many."""
        if self._private:  # whatever `count` is, one sample is no more of the sum than `clip`
            if not self._secret:
                raise ValueError("private updates need a secret: make the learner with its registry")
            deviation = self._private.noise * self._private.clip / of
            noise.add_noise(self._named, deviation, self._secret, self.clock)
        self._step(count, of)

    def _step(self, count: int, of: int) -> None:
        share = count / of
        factor = min(1.0, self._spec.clip / (self._norm / share + 1e-6)) / share
        if factor != 1:
            scale_(self._slopes(), factor)
        rate, now = self._spec.learning_rate * share**0.5, self.clock + count / self._spec.batch
        self._optimizer.step(rate, (BETAS[0] ** share, BETAS[1] ** share))
        for table in self._tables.values():
            if table.value.grad is not None:
                table.step(table.value.grad, self.clock, now, rate)
        self._average.follow(self.clock, now)
        self.clock = now
        self._forget()

    def skip(self) -> None:
        """Forget the slopes gathered: no step is taken with them."""
        self._forget()

    def _forget(self) -> None:
        for kept in self._rounded.values():
            kept.clear()
        for parameter in self._named.values():
            parameter.grad = None
        self._norm = 0.0

    def _slopes(self) -> list[Tensor]:
        """Return all numbers of the slopes gathered so far."""
        for name, parameter in self._named.items():
            if parameter.grad is not None and parameter.grad.is_sparse:
                slope = parameter.grad
                parameter.grad = slope.coalesce() if name in self._tables else slope.to_dense()
        found = [p.grad for p in self._named.values() if p.grad is not None]
        return [slope.values() if slope.is_sparse else slope for slope in found]

    def explore(self, inputs: Inputs, target: Tensor, task: Losses, of: int) -> None:
        """Add the slopes of masked weights too, for a refresh, of N rows of a batch `of` so many."""
        self.model.train()
        with any_rows(self.model):
            slopes = dense_slopes(self.model, lambda: task.losses(self.model(*inputs), target).sum() / of)
        self._explored = {name: slope + self._explored.get(name, 0) for name, slope in slopes.items()}

    def unexplored(self) -> None:
        """Forget the slopes of masked weights."""
        self._explored = {}

    def refresh(self, of: int) -> None:
        """Refresh the masks by what was explored, in blocks of `of` if not 0.

        A weight that grows starts at zero, also in the average and the moments.
        """
        averages = self._average.tensors()
        for name, grown in refresh(self.model, self._explored, self._spec.refresh_share, of).items():
            if name in self._tables:
                self._tables[name].clear(grown)
                continue
            averages[name].masked_fill_(grown, 0)
            self._optimizer.clear(weights(self.model)[name].value, grown)

    def renew(self, fresh: Mapping[str, Tensor]) -> None:
        """Shrink the weights and perturb them by fresh ones; average and moments begin again."""
        perturb(self._named, fresh)
        self._optimizer.load({})
        self.begin_average()

    def begin_average(self) -> None:
        """Let the average be young again, at the weights as they are."""
        self.clock = 0.0
        for table in self._tables.values():
            table.begin()
        self.settle()

    def settle(self) -> None:
        """Let the average begin again, at the weights as they are."""
        self._average.settle()

    def state(self, but: Collection[int] = ()) -> dict[str, Tensor]:
        """Return all that learning goes on from, by name, without the model's tensors whose `id` is in `but`."""
        out = {f"model.{name}": tensor for name, tensor in tensors(self.model, but).items()}
        out |= {f"mean.{name}": tensor for name, tensor in self._average.tensors().items()}
        out["clock"] = torch.tensor([self.clock, self._norm], dtype=torch.float64)
        out |= {f"optimizer.{name}": moment for name, moment in self._optimizer.state().items()}
        for name, table in self._tables.items():
            out |= {f"table.{name}.{kind}": tensor for kind, tensor in table.state().items()}
        out |= {f"explored.{name}": slope for name, slope in self._explored.items()}
        for name, parameter in self._named.items():
            if (slope := parameter.grad) is not None:
                rows = {f"rows.{name}": slope.indices()} if slope.is_sparse else {}
                out |= {f"slopes.{name}": slope.values() if slope.is_sparse else slope} | rows
        return out

    def load(self, state: Mapping[str, Tensor], but: Collection[int] = ()) -> None:
        """Go on from a state that `state` returned.

        Raises:
            ConfigError: it was made by another model.
        """
        restore(self.model, under(state, "model"), but)
        self._average.restore(under(state, "mean"))
        self.clock, self._norm = state["clock"].tolist()
        self._optimizer.load(under(state, "optimizer"))
        for name, table in self._tables.items():
            table.load(under(state, f"table.{name}"))
        self._explored = under(state, "explored")
        slopes, rows = under(state, "slopes"), under(state, "rows")
        for name, parameter in self._named.items():
            slope = slopes[name].clone() if name in slopes else None
            if slope is not None and name in rows:
                slope = torch.sparse_coo_tensor(
                    rows[name], slope, parameter.shape, is_coalesced=True, check_invariants=False
                )
            parameter.grad = slope


@torch.no_grad()
def perturb(learned: Mapping[str, nn.Parameter], fresh: Mapping[str, Tensor]) -> None:
    """Shrink weights towards zero and perturb them by fresh ones.

    So a network learns another world as fast as a new one does, and keeps a part of what it knows (Ash & Adams, arXiv
    1910.08475). `fresh` weights that have another shape, or none, perturb nothing.
    """
    for name, parameter in learned.items():
        parameter.mul_(SHRINK)
        if name in fresh and fresh[name].shape == parameter.shape:
            parameter.add_(fresh[name], alpha=PERTURB)


def under(state: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """Return the part of a state whose names begin with `prefix` and a dot, without these."""
    cut = len(prefix) + 1
    return {k[cut:]: v for k, v in state.items() if k.startswith(prefix + ".")}
