"""Parity: does the artifact answer as its training form does? If not, the candidate is refused.

Owns the comparison and the rule. Does not know what the two models are.
"""

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

LARGEST, MEAN, CHANGED = 0.05, 1e-3, 2e-3


class Parity(NamedTuple):
    """Differences of two outputs (N, K) as shares of the first one's largest magnitude, and of rows decided otherwise.

    A decision is the sign of the output where K = 1, else the largest of the K. What is not finite gives NaN.
    """

    largest: float
    mean: float
    changed: float

    def refusal(self, mean: float = MEAN, who: str = "artifact and training form") -> str | None:
        """Say why the two do not agree, or None if they do. `mean` is the bound of the mean difference.

        The bounds let a row here and there move by an int8 step (1/127 of a layer's range), as where a last bit rounds
        an input the other way, and hardly any on average: a wrong weight does not pass.
        """
        for name, value, most in zip(self._fields, self, (LARGEST, mean, CHANGED), strict=True):
            if not value <= most:  # NaN is refused too
                return f"{who} disagree: {name} difference {value:.3g}, allowed {most:g}"
        return None


def parity(a: Callable[..., Tensor], b: Callable[..., Tensor], inputs: Sequence[Tensor]) -> Parity:
    """Run both, in eval mode, on the same rows.

    Raises:
        ValueError: the outputs' shapes differ, or there are no rows.
    """
    with torch.inference_mode():
        ours, theirs = a(*inputs), b(*inputs)
    if ours.shape != theirs.shape or ours.numel() == 0:
        raise ValueError(
            f"parity needs equal shapes and at least one row, got {tuple(ours.shape)}, {tuple(theirs.shape)}"
        )
    gap = (ours - theirs).abs() / ours.abs().amax().clamp_min(1e-30)
    if not bool(torch.isfinite(gap).all()):
        return Parity(math.nan, math.nan, math.nan)
    return Parity(float(gap.max()), float(gap.mean()), float((_decide(ours) != _decide(theirs)).float().mean()))


def _decide(output: Tensor) -> Tensor:
    rows = output.flatten(1) if output.dim() > 1 else output[:, None]
    return rows[:, 0] > 0 if rows.shape[1] == 1 else rows.argmax(1)
