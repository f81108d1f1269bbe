"""Mask refresh while a training form keeps learning: drop weights that became small, grow those that would help most.

Owns the swap (RigL, Evci et al., arXiv 1911.11134) and how the slopes of masked weights are computed. Does not know
when a refresh is due, what the loss is, or optimizers and averages: `refresh` returns what has grown, for their owner.
"""

import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import NamedTuple

import torch
from torch import Tensor, nn

from compressors.form import Weight, weights
from compressors.pruning.prune import apart, neighbours
from compressors.recipe import Prune, Recipe


class Swapped(NamedTuple):
    """A layer's new mask (zeros and ones) and weight."""

    mask: Tensor
    weight: Tensor


def swap(weight: Tensor, mask: Tensor, slope: Tensor, share: float, of: int = 0) -> Swapped:
    """Drop the `share` of the kept weights that is smallest in magnitude; grow as many with the steepest `slope`.

    RigL's update (arXiv 1911.11134, algorithm 1): every weight that is masked after the drop may grow, so one just
    dropped may come back at once, with its value; it does so before a weight without a slope grows. A weight that was
    masked starts at zero. The number of masked weights stays the same; with `of`, also in each block of so many
    neighbours in a row (a pattern N:`of`). Of equals, the first in memory is dropped, or grows. All shapes are
    (O, ...).

    Raises:
        ValueError: not 0 <= share <= 1, or a weight or slope is not finite.
    """
    if not 0 <= share <= 1:
        raise ValueError(f"share is that of the kept weights to swap, 0 <= share <= 1, got {share}")
    if not bool((weight.isfinite() & slope.isfinite()).all()):
        raise ValueError("a weight or its slope is not finite: the mask cannot be refreshed")
    kept = mask != 0
    number = round(share * int(kept.sum()))
    after = kept.flatten().clone()
    after[weight.abs().masked_fill(~kept, torch.inf).flatten().argsort(stable=True)[:number]] = False
    after = after.view_as(mask)
    due = kept & ~after
    gain = slope.abs().masked_fill(after, -1).masked_fill(due & (slope == 0), torch.finfo(slope.dtype).tiny)
    gain, due = (neighbours(gain, of, -1), neighbours(due, of, 0)) if of else (gain.reshape(1, -1), due.reshape(1, -1))
    steepest = gain.argsort(dim=1, descending=True, stable=True).argsort(1)  # the rank of each, 0 is the steepest
    after = after | apart(steepest < due.sum(1, keepdim=True), mask)
    return Swapped(after.to(mask.dtype), weight.masked_fill(after & ~kept, 0))


def pattern(recipe: Recipe) -> int:
    """Return the number of neighbours, `of` of `swap`, that keeps all the recipe's patterns N:M; 0 if it has none."""
    return math.gcd(*(step.kept[1] for step in recipe.steps if isinstance(step, Prune) and step.kept))


def refreshed(form: nn.Module) -> dict[str, Weight]:
    """Return the weights whose masks can be refreshed, by name: those that can be pruned and that learn.

    Raises:
        ValueError: not a training form.
    """
    return {name: w for name, w in weights(form).items() if w.layer.prunable and w.value.requires_grad}


def refresh(form: nn.Module, slopes: Mapping[str, Tensor], share: float, of: int = 0) -> dict[str, Tensor]:
    """Swap within each weight that `refreshed` returns, in place, by the slopes of `dense_slopes`; `of` as for `swap`.

    Return what has grown, by the weight's name: True where an entry was masked and is not now.

    Raises:
        ValueError: not a training form, or what `swap` says.
    """
    refreshable = refreshed(form)
    swapped = {}
    for name, w in refreshable.items():
        turned = w.layer.turned
        mask, weight = swap(turned(w.value.detach()), turned(w.mask), turned(slopes[name]), share, of)
        swapped[name] = Swapped(turned(mask), turned(weight))
    grown = {name: swapped[name].mask > w.mask for name, w in refreshable.items()}
    for name, w in refreshable.items():
        w.mask.copy_(swapped[name].mask)
        w.value.detach().copy_(swapped[name].weight)
    return grown


def dense_slopes(form: nn.Module, loss: Callable[[], Tensor]) -> dict[str, Tensor]:
    """Return the slope of the loss in each weight that `refreshed` returns, masked entries included, by name.

    `loss` runs the form and returns one number, the same as ever: while it runs, masked weights are set to zero under
    masks of ones, which let their slopes through. The form's state and the global random generator are left as they
    were.

    Raises:
        ValueError: not a training form.
    """
    refreshable = refreshed(form)
    with torch.random.fork_rng(devices=[]), _opened(form):
        slopes = torch.autograd.grad(loss(), [weight.value for weight in refreshable.values()], materialize_grads=True)
    return dict(zip(refreshable, slopes, strict=True))


@contextmanager
def _opened(form: nn.Module) -> Iterator[None]:
    before = {name: value.clone() for name, value in form.state_dict().items()}
    try:
        for weight in weights(form).values():
            weight.value.detach().mul_(weight.mask)
            weight.mask.fill_(1)
        yield
    finally:
        form.load_state_dict(before)
