"""Masks: which weights of a training form are zero. By amount or by threshold, each under its own name.

Owns choosing and counting. A mask only ever loses entries: a pruned weight stays pruned, whatever an optimizer's
momentum or weight decay does to the parameter underneath. Of when to prune it knows only the schedule's formula.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from compressors.form import ShadowLinear, layers


def prune_amount(form: nn.Module, amount: float) -> None:
    """Mask the share `amount` of all Linear weights that is smallest in magnitude, over all layers at once.

    Already masked weights count first; a share below what is masked changes nothing. As
    `torch.nn.utils.prune.global_unstructured(..., L1Unstructured, amount=amount)` on fresh masks.

    Raises:
        ValueError: not 0 <= amount < 1, or a weight is not finite.
    """
    if not 0 <= amount < 1:
        raise ValueError(f"amount is the share to remove, 0 <= amount < 1, got {amount}")
    found = layers(form)
    ranks = torch.cat([_ranks(name, layer).flatten() for name, layer in found.items()])
    masked = max(round(amount * len(ranks)), int((ranks < 0).sum()))
    keep = torch.ones_like(ranks)
    keep[torch.topk(ranks, masked, largest=False).indices] = 0
    sizes = [layer.mask.numel() for layer in found.values()]
    for layer, part in zip(found.values(), torch.split(keep, sizes), strict=True):
        layer.mask.copy_(part.view_as(layer.mask))


def prune_threshold(form: nn.Module, below: float) -> None:
    """Mask every Linear weight with |w| < `below`.

    Raises:
        ValueError: `below` is negative or not a number, or a weight is not finite.
    """
    if not below >= 0:
        raise ValueError(f"the threshold is a magnitude, at least 0, got {below}")
    for name, layer in layers(form).items():
        layer.mask.mul_(_ranks(name, layer) >= below)


def cubic(start: float, final: float, step: int, steps: int) -> float:
    """Sparsity due at `step` of `steps`: final + (start - final)(1 - step/steps)³ (Zhu & Gupta, arXiv 1710.01878)."""
    if step >= steps:
        return final
    return final + (start - final) * (1 - step / steps) ** 3


@dataclass(frozen=True)
class Sparsity:
    """Share of masked weights: by layer, and over all compressed layers."""

    layers: dict[str, float]
    overall: float


def sparsity(form: nn.Module) -> Sparsity:
    """Count the masked weights."""
    counts = {name: (int((layer.mask == 0).sum()), layer.mask.numel()) for name, layer in layers(form).items()}
    masked, total = (sum(column) for column in zip(*counts.values(), strict=True))
    return Sparsity({name: zeros / n for name, (zeros, n) in counts.items()}, masked / total)


def _ranks(name: str, layer: ShadowLinear) -> Tensor:
    """|w|, and -1 where it is masked already."""
    size = layer.weight.detach().abs()
    if not bool(torch.isfinite(size).all()):
        raise ValueError(f"layer {name!r} has a weight that is not finite: it cannot be pruned")
    return size.masked_fill(layer.mask == 0, -1)
