"""Masks: which weights of a training form are zero, chosen by amount, by threshold or by pattern.

Owns the choice, the count, and the schedule's formula. A pruned weight stays pruned, whatever an optimizer's momentum
or weight decay does to the parameter under the mask. Does not know when a step is due.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from compressors.form import MOST_REASONS, Weight, find, unpruned, weights
from compressors.steps import KINDS, Kind, Prune, Scope


def prune(form: nn.Module, step: Prune) -> None:
    """Carry out a prune step, with its full amount at once.

    Raises:
        ValueError: no layer of the step's kinds can be pruned, or a weight is not finite.
    """
    if step.below is not None:
        prune_threshold(form, step.below, step.layers)
    elif step.kept:
        prune_pattern(form, *step.kept, step.layers)
    else:
        prune_amount(form, step.amount or 0.0, step.scope, step.layers)


def prune_amount(form: nn.Module, amount: float, scope: Scope = "all", kinds: Sequence[Kind] = KINDS) -> None:
    """Mask the share `amount` of the weights: those smallest in magnitude, among "all" layers or within each "layer".

    With "lamp" they are those with the smallest scores among all layers: a weight's square, divided by the sum of the
    squares in its layer that are not smaller (layer-adaptive magnitude pruning, arXiv 2010.07611). The largest weight
    of each layer has the score 1, so no layer is emptied.

    Masked weights are part of the share; a share below what is masked changes nothing. On fresh masks the result is
    that of `torch.nn.utils.prune.global_unstructured(..., L1Unstructured, amount=amount)`, or of `l1_unstructured` on
    each layer.

    Raises:
        ValueError: not 0 <= amount < 1, no layer of these kinds can be pruned, or a weight is not finite.
    """
    if not 0 <= amount < 1:
        raise ValueError(f"amount is the share to remove, 0 <= amount < 1, got {amount}")
    prunable = _prunable(form, kinds)
    score = _lamp if scope == "lamp" else _ranks
    for together in [[weight] for weight in prunable] if scope == "layer" else [prunable]:
        ranks = torch.cat([score(weight).flatten() for weight in together])
        masked = max(round(amount * len(ranks)), int((ranks < 0).sum()))
        keep = torch.ones_like(ranks)
        keep[torch.topk(ranks, masked, largest=False).indices] = 0
        for weight, part in zip(together, torch.split(keep, [w.mask.numel() for w in together]), strict=True):
            weight.mask.copy_(part.view_as(weight.mask))


def prune_threshold(form: nn.Module, below: float, kinds: Sequence[Kind] = KINDS) -> None:
    """Mask every weight with |w| < `below`.

    Raises:
        ValueError: `below` is negative or not a number, no layer of these kinds can be pruned, or a weight is not
            finite.
    """
    if not below >= 0:
        raise ValueError(f"the threshold is a magnitude, at least 0, got {below}")
    for weight in _prunable(form, kinds):
        weight.mask.mul_(_ranks(weight) >= below)


def prune_pattern(form: nn.Module, kept: int, of: int, kinds: Sequence[Kind] = KINDS) -> None:
    """Keep the `kept` largest of every `of` neighbours in an output's row of weights (2:4: arXiv 2104.08378).

    If the last block of a row has fewer than `of` weights, it still keeps `kept` of them.

    Raises:
        ValueError: no layer of these kinds can be pruned, or a weight is not finite.
    """
    for weight in _prunable(form, kinds):
        turned = weight.layer.turned
        ranks = turned(_ranks(weight))
        blocks = neighbours(ranks, of, -1.0)
        keep = torch.zeros_like(blocks).scatter_(1, blocks.topk(kept, 1).indices, 1.0) * (blocks >= 0)
        weight.mask.mul_(turned(apart(keep, ranks)))


def neighbours(weight: Tensor, of: int, fill: float) -> Tensor:
    """View a weight (O, ...) as blocks (B, `of`) of neighbours; `fill` completes the last block of each row."""
    rows = weight.flatten(1)
    return nn.functional.pad(rows, (0, -rows.shape[1] % of), value=fill).reshape(-1, of)


def apart(blocks: Tensor, like: Tensor) -> Tensor:
    """Return blocks made by `neighbours` in the shape of `like` (O, ...)."""
    inputs = like[0].numel()
    return blocks.reshape(len(like), -1)[:, :inputs].reshape(like.shape)


def cubic(start: float, final: float, step: int, steps: int) -> float:
    """Return the sparsity due at `step`: final + (start - final)(1 - step/steps)³ (Zhu & Gupta, arXiv 1710.01878)."""
    if step >= steps:
        return final
    return final + (start - final) * (1 - step / steps) ** 3


@dataclass(frozen=True)
class Sparsity:
    """The share of masked entries in each weight, by its name, and over all weights that can be pruned."""

    layers: dict[str, float]
    overall: float


def sparsity(form: nn.Module, kinds: Sequence[Kind] = KINDS) -> Sparsity:
    """Return the share of masked weights in layers of these kinds.

    Raises:
        ValueError: no layer of these kinds can be pruned.
    """
    counts = {w.name: (int((w.mask == 0).sum()), w.mask.numel()) for w in _prunable(form, kinds)}
    masked, total = (sum(column) for column in zip(*counts.values(), strict=True))
    return Sparsity({name: zeros / n for name, (zeros, n) in counts.items()}, masked / total)


def set_aside(form: nn.Module) -> None:
    """Note the weights that are all zero: their magnitudes have no order, so nothing of them is pruned from now on.

    Such a weight has not learned yet, as the second factor of a LoRA (Hu et al., arXiv 2106.09685): by magnitude it
    would go first and as a whole, and never learn.
    """
    for weight in find(form).values():
        if not weight.value.any():
            weight.layer.aside |= {weight.name}


def _prunable(form: nn.Module, kinds: Sequence[Kind]) -> list[Weight]:
    meant = [weight for weight in weights(form).values() if weight.layer.prunable and weight.layer.kind in kinds]
    prunable = [weight for weight in meant if unpruned(weight) is None]
    if not prunable:
        none = f"no weight of {', '.join(kinds)} layers in this model can be pruned"
        reasons = [f"{weight.name}: {unpruned(weight)}" for weight in meant][:MOST_REASONS]
        raise ValueError(f"{none}: {'; '.join(reasons) or 'the prune steps of the recipe name none of its layers'}")
    return prunable


def _ranks(weight: Weight) -> Tensor:
    """Return |w|, and -1 for masked weights."""
    size = weight.value.detach().abs()
    if not bool(torch.isfinite(size).all()):
        raise ValueError(f"{weight.name!r} holds a weight that is not finite: it cannot be pruned")
    return size.masked_fill(weight.mask == 0, -1)


def _lamp(weight: Weight) -> Tensor:
    """Return w² divided by the sum of the layer's squares that are not smaller, and -1 for masked weights."""
    ranks = _ranks(weight).flatten().double()  # float32's squares would leave its range
    rising, order = ranks.clamp(min=0).sort(stable=True)
    squares = rising.square()
    left = squares.flip(0).cumsum(0).flip(0)
    scores = torch.empty_like(ranks)
    scores[order] = squares / left.clamp(min=torch.finfo(left.dtype).tiny)
    return scores.masked_fill(ranks < 0, -1)
