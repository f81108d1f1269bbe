"""Training norms on any number of rows, and leaving frozen ones as they are.

Owns when a norm computes with its running statistics although the model trains, and how one value moves them. Does not
know losses or optimizers. torch refuses to normalize a single value by its own mean; such a value is normalized by the
running statistics, which it moves like any other (West 1979): μ ← μ + m (x − μ), σ² ← (1 − m) (σ² + m (x − μ)²).
"""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, cast

import torch
from torch import Tensor, nn

from compressors.internals import InstanceNorm, Norm, dims_of_one


def running(model: nn.Module) -> list[Norm]:
    """Return the norms that keep running statistics."""
    return [m for m in model.modules() if isinstance(m, Norm) and m.running_mean is not None]


def frozen(norm: nn.Module) -> bool:
    """Return whether a norm has weights of its own, and none of them learns."""
    own = [p.requires_grad for p in norm.parameters(recurse=False)]
    return bool(own) and not any(own)


@contextmanager
def any_rows(model: nn.Module, share: float = 1.0) -> Iterator[None]:
    """Let a model in training mode run on any number of rows, until the block ends.

    A norm that sees one value per channel uses its running statistics, and moves them by it. A norm whose own weights
    are frozen stays as it is. `share` is the part of a batch that the rows are: momentum m becomes 1 − (1 − m)^share.
    """
    with ExitStack() as undo:
        for norm in running(model):
            if not norm.training:
                continue
            if frozen(norm):
                norm.eval()
                undo.callback(norm.train)
                continue
            if norm.momentum is not None and share != 1:
                undo.callback(setattr, norm, "momentum", norm.momentum)
                norm.momentum = 1 - (1 - norm.momentum) ** share
            undo.enter_context(_alone(norm))
        yield


@contextmanager
def _alone(norm: Norm) -> Iterator[None]:
    def before(_: nn.Module, args: tuple[Any, ...]) -> None:
        if _values(norm, args[0]) == 1:
            _follow(norm, args[0].detach())
            norm.eval()

    def after(_: nn.Module, args: Any, output: Any) -> None:
        norm.train()

    hooks = norm.register_forward_pre_hook(before), norm.register_forward_hook(after, always_call=True)
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def _values(norm: Norm, x: Tensor) -> int:
    """Return how many values each mean would be of."""
    rows = len(x) if isinstance(norm, InstanceNorm) and x.dim() > dims_of_one(norm) else 1
    return x.numel() // (norm.num_features * rows) if rows else 0


def _follow(norm: Norm, x: Tensor) -> None:
    mean, var = cast(Tensor, norm.running_mean), cast(Tensor, norm.running_var)
    counted = cast(Tensor, norm.num_batches_tracked).add_(1)
    m = 1 / float(counted) if norm.momentum is None else norm.momentum
    value = x.reshape(-1, norm.num_features).mean(0)  # several only where an instance norm sees one value of each row
    with torch.no_grad():
        off = value - mean
        var.add_(off.square(), alpha=m).mul_(1 - m)
        mean.add_(off, alpha=m)
