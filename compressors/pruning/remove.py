"""Removing groups of units, and the check that it was right.

Owns the check: on the example batch, the smaller model must answer as the larger one does when no layer can read those
units. If they were traced wrongly, it does not; then all is put back, with a reason. Does not know how units are
chosen.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from compressors.pruning.cuts import Place
from compressors.pruning.groups import Family
from compressors.pruning.hooks import instead, tensors
from compressors.pruning.trace import TROUBLE, Stage


def remove(stage: Stage, family: Family, gone: Sequence[int]) -> str | None:
    """Cut the groups `gone` out, in place; or put everything back and return the reason.

    To be called in eval mode and without gradients.
    """
    if not gone:
        return f"the share to remove of its {family.count} units is less than one"
    places = {place: index[gone].flatten().tolist() for place, index in family.places.items()}
    restore = _save({place.module for place in places} | {source.owner for source in family.sources})
    reason: str | None = "interrupted"
    try:
        with _silenced(places):
            larger = _answer(stage)
        restore()
        for place, index in places.items():
            place.cut(index)
        for source in family.sources:
            for name, size in source.sizes:
                setattr(source.owner, name, size * (family.count - len(gone)))
        reason = _difference(larger, _answer(stage))
    except TROUBLE as wrong:
        reason = f"without some of its units the model fails: {wrong}"
    finally:
        if reason:
            restore()
    return reason


def _save(modules: set[nn.Module]) -> Callable[[], None]:
    tensors_before = [(t, t.data, t.grad) for m in modules for t in (*m.parameters(False), *m.buffers(False))]
    sizes = [(m, {name: v for name, v in vars(m).items() if isinstance(v, int | tuple)}) for m in modules]

    def restore() -> None:
        for tensor, data, grad in tensors_before:
            tensor.data = data
            tensor.grad = grad
        for module, attributes in sizes:
            vars(module).update(attributes)

    return restore


@contextmanager
def _silenced(places: dict[Place, list[int]]) -> Iterator[None]:
    """Let no layer read these units: readers have zero columns, and a LayerNorm normalizes the others alone."""
    norms: dict[nn.Module, list[int]] = {}
    for place, index in places.items():
        if isinstance(place.module, nn.LayerNorm):
            norms[place.module] = index
        elif place.side == "columns" and place.rule.unit:
            place.silence(index)
    with instead(norms, lambda module: partial(_norm_rest, module, norms[module])):
        yield


def _norm_rest(module: Any, gone: list[int], x: Tensor) -> Tensor:
    keep = torch.tensor(sorted(set(range(x.shape[-1])) - set(gone)), device=x.device)
    weight, bias = (None if t is None else t[keep] for t in (module.weight, module.bias))
    rest = F.layer_norm(x[..., keep], (len(keep),), weight, bias, module.eps)
    return torch.zeros_like(x).index_copy(-1, keep, rest)


def _answer(stage: Stage) -> list[Tensor]:
    torch.manual_seed(0)
    return [t.clone() for t in tensors(stage.model(*(t.clone() for t in stage.inputs)))]


def _difference(larger: list[Tensor], smaller: list[Tensor]) -> str | None:
    shapes, now = ([tuple(t.shape) for t in answer] for answer in (larger, smaller))
    if shapes != now:
        return f"without some of its units the model's output has shape {now}, not {shapes}"
    for a, b in zip(larger, smaller, strict=True):
        if a.is_floating_point() and a.numel():
            bound = torch.finfo(a.dtype).eps ** 0.5 * max(float(a.abs().max()), 1e-30)
            if not torch.allclose(a, b, rtol=0, atol=bound, equal_nan=True):
                return "its units are read in a way that was not found: without them the answers are others"
    return None
