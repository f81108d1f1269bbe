"""The scale of a regression's labels as they come: the mean and spread of about the last ten thousand.

Owns these numbers, and that the scale in use changes between batches alone. Does not know models.
"""

import math

import torch
from torch import Tensor

from compressors.scale import UNIT, WITHIN, Scale

MEMORY = 10_000.0  # labels that the mean and the spread remember
TRUSTED = 100.0  # labels from which on a wild one counts as one that lies ten spreads off


class Spread:
    """The running scale; `scale` is in use, and is None where the model answers in the label's unit by itself."""

    def __init__(self) -> None:
        self.scale: Scale | None = UNIT
        self._count, self._mean, self._variance = 0.0, 0.0, 0.0

    def begin(self, labels: Tensor) -> Scale:
        """Begin at the scale of a history's labels (N,), and use it."""
        scale = Scale.of(labels)
        self._count, self._mean, self._variance = min(float(len(labels)), MEMORY), scale.mean, scale.spread**2
        self.scale = scale
        return scale

    def add(self, label: float) -> None:
        """Count one more label, whose time has come."""
        off = label - self._mean
        if self._count >= TRUSTED:
            most = WITHIN * math.sqrt(self._variance)
            off = max(-most, min(most, off))
        self._count = min(self._count + 1, MEMORY)
        share = 1 / self._count
        self._mean += share * off
        self._variance = (1 - share) * (self._variance + share * off * off)

    @property
    def now(self) -> Scale:
        """The mean and the spread of the labels so far."""
        return Scale(self._mean, math.sqrt(self._variance)).sound() if self._count else UNIT

    def settle(self) -> Scale | None:
        """Use the scale of the labels so far, from the next batch on; return it."""
        if self.scale is not None:
            self.scale = self.now
        return self.scale

    def state(self) -> Tensor:
        """Return everything that the next label needs."""
        used = self.scale or Scale(math.nan, math.nan)
        return torch.tensor([self._count, self._mean, self._variance, *used], dtype=torch.float64)

    def load(self, state: Tensor | None) -> None:
        """Go on from what `state` returned; None: from before there were scales."""
        if state is None:
            self.scale = None
            return
        self._count, self._mean, self._variance, mean, spread = state.tolist()
        self.scale = None if math.isnan(mean) else Scale(mean, spread)
