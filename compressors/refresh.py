"""Mask refresh while a training form keeps learning: drop weights that became small, grow ones that would help most.

Owns the swap (RigL, Evci et al., arXiv 1911.11134) and how the slopes of masked weights are had. Does not know when a
refresh is due, what the loss is, or optimizers: a grown weight's moments are what its time under the mask left.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import NamedTuple

import torch
from torch import Tensor, nn

from compressors.form import weights


class Swapped(NamedTuple):
    """A layer's new mask (zeros and ones) and weight."""

    mask: Tensor
    weight: Tensor


def swap(weight: Tensor, mask: Tensor, slope: Tensor, share: float) -> Swapped:
    """Mask the `share` of the kept weights that is smallest in magnitude; keep as many with the steepest `slope`.

    RigL's update (arXiv 1911.11134, algorithm 1): the candidates to grow are all that are not kept then, so a weight
    just dropped may come back at once, and then it keeps its value; a weight that was masked starts at zero. As many
    are masked after as before. Of equals the first in memory goes, or comes. All four tensors have one shape.

    Raises:
        ValueError: not 0 <= share <= 1, or a weight or slope is not finite.
    """
    if not 0 <= share <= 1:
        raise ValueError(f"share is that of the kept weights to swap, 0 <= share <= 1, got {share}")
    if not bool((weight.isfinite() & slope.isfinite()).all()):
        raise ValueError("a weight or its slope is not finite: the mask cannot be refreshed")
    kept = mask.flatten() != 0
    number = round(share * int(kept.sum()))
    after = kept.clone()
    after[weight.abs().flatten().masked_fill(~kept, torch.inf).argsort(stable=True)[:number]] = False
    gain = slope.abs().flatten().masked_fill(after, -1)
    after[gain.argsort(descending=True, stable=True)[:number]] = True
    grown = (after & ~kept).view_as(mask)
    return Swapped(after.view_as(mask).to(mask.dtype), weight.masked_fill(grown, 0))


def refresh(form: nn.Module, slopes: Mapping[str, Tensor], share: float) -> None:
    """Swap within each weight that can be pruned, in place, by the `slopes` that `dense_slopes` gives.

    Raises:
        ValueError: not a training form, or what `swap` says.
    """
    found = {name: weight for name, weight in weights(form).items() if weight.layer.prunable}
    swapped = {name: swap(w.value.detach(), w.mask, slopes[name], share) for name, w in found.items()}
    for name, weight in found.items():
        weight.mask.copy_(swapped[name].mask)
        weight.value.detach().copy_(swapped[name].weight)


def dense_slopes(form: nn.Module, loss: Callable[[], Tensor]) -> dict[str, Tensor]:
    """Slope of the loss in each compressed weight as a whole, masked parts included; the form is left as it was.

    `loss` runs the form and gives one number. It sees the same values as ever: for its duration the masked weights are
    zeros under masks of ones, which let their slopes through.

    Raises:
        ValueError: not a training form.
    """
    found = weights(form)
    with _opened(form):
        slopes = torch.autograd.grad(loss(), [weight.value for weight in found.values()], materialize_grads=True)
    return dict(zip(found, slopes, strict=True))


@contextmanager
def _opened(form: nn.Module) -> Iterator[None]:
    found = [(weight.value.detach(), weight.mask) for weight in weights(form).values()]
    before = [(weight.clone(), mask.clone()) for weight, mask in found]
    try:
        for weight, mask in found:
            weight.mul_(mask)
            mask.fill_(1)
        yield
    finally:
        for (weight, mask), (old_weight, old_mask) in zip(found, before, strict=True):
            weight.copy_(old_weight)
            mask.copy_(old_mask)
