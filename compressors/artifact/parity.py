"""Parity: whether the artifact answers as its training form does. If it does not, it is refused.

Owns the comparison and its bounds. Does not know what the two models are.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from compressors.answers import Run, answer_all
from compressors.rows import Rows

LARGEST, MEAN, CHANGED = 0.05, 1e-3, 2e-3


class Parity(NamedTuple):
    """How far two models' outputs (N, K) are apart.

    `largest` and `mean` are of the absolute differences, as shares of the first outputs' largest magnitude. `changed`
    is the share of rows with another decision: the output's sign if K = 1, else the largest of the K. All are NaN if a
    difference is not finite.
    """

    largest: float
    mean: float
    changed: float

    def refusal(self, mean: float = MEAN, who: str = "artifact and training form") -> str | None:
        """Return why the two do not agree, None if they do. `mean` bounds the mean difference.

        The bounds let single rows move by an int8 step (1/127 of a layer's range), as happens when a last bit rounds an
        input the other way, but hardly move the average: a wrong weight does not pass.
        """
        for name, value, most in zip(self._fields, self, (LARGEST, mean, CHANGED), strict=True):
            if not value <= most:  # NaN is refused too
                return f"{who} disagree: {name} difference {value:.3g}, allowed {most:g}"
        return None


def parity(a: Run, b: Run, rows: Rows | Sequence[Tensor], zero: float = 0.0) -> Parity:
    """Return the parity of two models, in eval mode, on the same rows. Answers are measured from `zero`.

    Raises:
        ValueError: the outputs' shapes differ, or there are no rows.
    """
    ours, theirs = answer_all([a, b], rows)
    return parity_of(ours, theirs, zero)


def parity_of(ours: Tensor, theirs: Tensor, zero: float = 0.0) -> Parity:
    """Return the parity of two models' outputs (N, K) for the same rows, measured from `zero`.

    Raises:
        ValueError: their shapes differ, or there are no rows.
    """
    if ours.shape != theirs.shape or ours.numel() == 0:
        raise ValueError(
            f"parity needs equal shapes and at least one row, got {tuple(ours.shape)}, {tuple(theirs.shape)}"
        )
    ours, theirs = ours - zero, theirs - zero
    gap = (ours - theirs).abs() / ours.abs().amax().clamp_min(1e-30)
    if not bool(torch.isfinite(gap).all()):
        return Parity(math.nan, math.nan, math.nan)
    return Parity(float(gap.max()), float(gap.mean()), float((_decide(ours) != _decide(theirs)).float().mean()))


def _decide(output: Tensor) -> Tensor:
    rows = output.flatten(1) if output.dim() > 1 else output[:, None]
    return rows[:, 0] > 0 if rows.shape[1] == 1 else rows.argmax(1)
