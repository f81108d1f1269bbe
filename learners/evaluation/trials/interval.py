"""How large a mean gain is: a 95 % interval, to be shown. It decides nothing."""

import math
from typing import NamedTuple

ALPHA, TIGHT_AT = 0.05, 1_000  # samples at which the interval is the tightest


class Sums(NamedTuple):
    """Of n differences: their number, sum, and sum of squares."""

    samples: int = 0
    total: float = 0.0
    squares: float = 0.0

    def plus(self, other: "Sums") -> "Sums":
        """Return those of both."""
        return Sums(self.samples + other.samples, self.total + other.total, self.squares + other.squares)

    @property
    def mean(self) -> float:
        """The mean, 0 without a difference."""
        return self.total / self.samples if self.samples else 0.0

    @property
    def spread(self) -> float:
        """How far they are from their mean, the root of the mean square."""
        return math.sqrt(max(0.0, self.squares / self.samples - self.mean**2)) if self.samples else 0.0

    @property
    def interval(self) -> tuple[float, float] | None:
        """Between which bounds the mean is, at all times together with a chance of 95 % for large n; None below two.

        The asymptotic confidence sequence of Waudby-Smith et al., arXiv 2103.06476, equation 14.

        >>> low, high = Sums(4_000, 40.0, 4_000.0).interval
        >>> round(low, 3), round(high, 3)
        (-0.04, 0.06)
        """
        if self.samples < 2:
            return None
        n, spread = self.samples, self.spread**2
        rho2 = (-2 * math.log(ALPHA) + math.log(-2 * math.log(ALPHA)) + 1) / TIGHT_AT
        grown = n * rho2 + 1
        half = math.sqrt(spread * 2 * grown / (n * n * rho2) * math.log(math.sqrt(grown) / ALPHA))
        return self.mean - half, self.mean + half
