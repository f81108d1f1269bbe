"""Transforms that learn online: layers of a user's model whose buffers follow the rows that they see.

A row is answered first and then waits. When the optimizer takes the step of its batch, transforms learn the rows of
that batch, all at once and in their order. The log alone decides where batches end, so equal logs make equal bits
however they are cut into parts and commits. What a `TargetMean` answers is of the outcomes of batches before, so no row
sees its own. All is in buffers: it is in states, candidates and artifacts, in an artifact it stands still, and no
recipe touches it. Owns waiting. Does not know who tells of rows
(following.py), or what is learned of them.
"""

import torch
from torch import Tensor, nn

from compressors.arguments import shown
from streams.errors import ConfigError

WAITING = ("_rows", "_targets", "_weights")


class Transform(nn.Module):
    """A layer that learns from rows, not by slopes: `learn` follows a batch of them, which `forward` has answered.

    A pipeline's learner calls `follow` and `settle`; elsewhere call them yourself. What it knows must be in buffers;
    those that only learning needs have `persistent=False`, and artifacts go without them.

    >>> import torch
    >>> class Largest(Transform):
    ...     def __init__(self):
    ...         super().__init__()
    ...         self.register_buffer("most", torch.tensor(1.0))
    ...     def forward(self, x):
    ...         return x / self.most
    ...     def learn(self, rows, targets, weights):
    ...         self.most.copy_(torch.maximum(self.most, rows.max()))
    >>> largest = Largest()
    >>> largest.follow(torch.tensor([[8.0], [4.0]]))
    >>> largest.settle()
    >>> largest(torch.tensor([[2.0]])).tolist()
    [[0.25]]
    """

    def __init__(self) -> None:
        super().__init__()
        for name in WAITING:
            self.register_buffer(name, torch.empty(0), persistent=False)

    @torch.no_grad()
    def follow(self, rows: Tensor, targets: Tensor | None = None, weights: Tensor | None = None) -> None:
        """Keep what came into `forward` (N, ...), and the targets and weights (N,) of these rows, until `settle`."""
        n = len(rows)
        targets, weights = (torch.ones(n) if given is None else given for given in (targets, weights))
        for name, new in zip(WAITING, (self.kept(rows.detach()), targets, weights), strict=True):
            before = self.get_buffer(name)
            self._buffers[name] = _joined(before, new) if len(before) else new.clone()

    @torch.no_grad()
    def settle(self) -> None:
        """Learn the rows that wait, of one batch: from now on `forward` answers by them too."""
        rows, targets, weights = (self.get_buffer(name) for name in WAITING)
        if len(targets):
            if len(rows):
                self.learn(rows, targets, weights)
            for name in WAITING:
                self._buffers[name] = torch.empty(0)

    def kept(self, rows: Tensor) -> Tensor:
        """Return what `learn` needs of rows: they wait as this."""
        return rows

    def learn(self, rows: Tensor, targets: Tensor, weights: Tensor) -> None:
        """Learn a batch of rows, as `kept` returned them."""
        raise NotImplementedError


def _joined(before: Tensor, new: Tensor) -> Tensor:
    """Return rows after another; tokens (N, L) are padded with 0 where the parts of a batch differ in L."""
    if before.shape[1:] != new.shape[1:]:
        width = max(before.shape[1], new.shape[1])
        before, new = (nn.functional.pad(t, (0, width - t.shape[1])) for t in (before, new))
    return torch.cat([before, new])


def least(lowest: int, kind: str, **given: int) -> int:
    """Return a layer's whole number, which must be at least so large."""
    ((name, value),) = given.items()
    if not isinstance(value, int) or isinstance(value, bool) or value < lowest:
        raise ConfigError(f"{kind}.{name} must be a whole number, at least {lowest}, got {shown(value)}")
    return value
