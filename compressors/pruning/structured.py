"""Structured pruning: whole neurons, channels and heads are removed, so that tensors get smaller and the model faster.

Owns the choice and the report. Does not know how units are traced (trace.py), grouped (groups.py), cut (cuts.py) and
checked (remove.py), or how a model is retrained afterwards.

A group's importance is the L2 norm of all weights that would go with it: its rows where it is made, its columns where
it is read, its entries in the norms between (DepGraph, Fang et al., arXiv 2301.12900). Each family loses the same share
of its groups, the least important ones.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from compressors.errors import Lost
from compressors.pruning.groups import Family, families, sources
from compressors.pruning.remove import remove
from compressors.pruning.trace import TROUBLE, Stage
from compressors.recipe import PruneStructured


@dataclass(frozen=True)
class Cut:
    """A layer that lost units: their sort, and how many it has before and after."""

    layer: str
    unit: str
    before: int
    after: int


@dataclass(frozen=True)
class Report:
    """The layers that lost units, the model's number of parameters before and after, and by name what was left and why.

    If no unit of the model can be traced, `left` has the reason under the name "", the model itself. Layers that are
    cut together, such as the two terms of a residual sum, are each listed. Queries that share a key count as one head.
    """

    layers: tuple[Cut, ...]
    parameters_before: int
    parameters_after: int
    left: dict[str, str]


def prune_structured(model: nn.Module, step: PruneStructured, inputs: tuple[Tensor, ...]) -> Report:
    """Remove the share `step.amount` of the units of each layer of a plain model, in place; at least one stays.

    `inputs` is an example batch of a few rows, with which `model(*inputs)` is called. Parameters stay the same objects;
    modes and the global random generator are left as they were; the model's inputs and outputs keep their shapes. The
    same model, step and inputs give the same result.

    Raises:
        ValueError: a weight is not finite, or the model does not run on the inputs; nothing has been changed.
    """
    _check(model)
    before = _count(model)
    with _quiet(model):
        try:
            stage = Stage(model, inputs)
        except Lost as lost:
            return Report((), before, before, {"": str(lost)})
        except TROUBLE as wrong:
            raise ValueError(f"the model does not run on the example batch: {wrong}") from wrong
        cuts, left = _prune(stage, step)
    return Report(tuple(cuts), before, _count(model), _others(stage) | left)


def _prune(stage: Stage, step: PruneStructured) -> tuple[list[Cut], dict[str, str]]:
    all_sources = sources(stage)
    readers, lost = stage.trace(all_sources)
    whole, unlike = families(stage, readers)
    left = unlike | {source.name: why for source, why in lost.items()}
    cuts: list[Cut] = []
    for family in whole:
        if not any(source.unit in step.units for source in family.sources):
            continue
        gone = _least(family, step.amount)
        reason = _frozen(stage, family) or remove(stage, family, gone)
        if reason:
            left |= {source.name: reason for source in family.sources}
        else:
            cuts += [Cut(s.name, s.unit, family.count, family.count - len(gone)) for s in family.sources]
    asked = {source.name for source in all_sources if source.unit in step.units}
    return cuts, {name: reason for name, reason in left.items() if name in asked}


def _frozen(stage: Stage, family: Family) -> str | None:
    """Return why no group may go, if one of the weights that would be cut does not learn."""
    for place in family.places:
        for tensor, _ in place.tensors():
            if isinstance(tensor, nn.Parameter) and not tensor.requires_grad:
                return f"a weight of {stage.names[place.module]!r} has requires_grad=False, and stays as it is"
    return None


def _least(family: Family, amount: float) -> list[int]:
    """Return the groups with the smallest norms; of equal ones the first."""
    squares = sum(place.energy()[index].sum(1) for place, index in family.places.items())
    order = torch.as_tensor(squares).sqrt().argsort(stable=True)
    return sorted(order[: min(family.count - 1, round(amount * family.count))].tolist())


def _others(stage: Stage) -> dict[str, str]:
    """Return the layers with weights whose units cannot be removed, by name, and the reasons."""
    left = {}
    for module, name in stage.names.items():
        if module in stage.shared:
            left[name] = f"its weight is also that of {stage.shared[module]!r}"
        elif isinstance(module, nn.MultiheadAttention):
            left[name] = "MultiheadAttention takes the size of a head from that of its input, so no head can go"
        elif isinstance(module, nn.Conv1d | nn.Conv2d) and module.groups > 1 and module not in stage.rules:
            left[name] = f"its {module.groups} groups of channels would have to stay equally large"
        elif module not in stage.rules and _is_matrix(module):
            left[name] = f"how to remove units of a {type(module).__name__} is not known"
    return left


def _is_matrix(module: nn.Module) -> bool:
    table = isinstance(module, nn.Embedding | nn.EmbeddingBag)
    return not table and any(parameter.dim() > 1 for parameter in module.parameters(recurse=False))


def _check(model: nn.Module) -> None:
    for name, parameter in model.named_parameters():
        if not bool(torch.isfinite(parameter).all()):
            raise ValueError(f"{name} has a weight that is not finite: the model cannot be pruned")


def _count(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


@contextmanager
def _quiet(model: nn.Module) -> Iterator[None]:
    """Eval mode, no gradients, a forked random generator; modes and buffers are restored afterwards."""
    training = {module: module.training for module in model.modules()}
    buffers = [(buffer, buffer.clone()) for buffer in model.buffers()]
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        try:
            model.eval()
            yield
        finally:
            for module, was in training.items():
                module.training = was
            for buffer, before in buffers:
                if buffer.shape == before.shape:
                    buffer.copy_(before)
