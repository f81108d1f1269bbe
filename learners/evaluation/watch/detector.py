"""A change detector: evidence that a mean difference has risen above a margin, whenever that began.

An e-detector, by the bets of `learners/bets.py`, on h. Of a block of n differences with the mean x and the variance v,
with the margin μ, and s by which good blocks are off 0:

    z = (x − μ) / √(s² + v / n)      h = 2 max(z, 0)² − 1
    R_j ← (R_j + 1)(1 + b_j h)      an alarm at mean R ≥ N / α

Where E max(z, 0)² ≤ ½, as of blocks that are off either way alike and by at most as much, h is at most 0 in the mean,
so that there are at most α alarms in N blocks, whatever else their distribution is. A block that is off by 7 s brings a
factor of about 30, not one for each of its predictions: what two versions differ by on one day is one piece of
evidence, however many predictions that day has. Owns one detector's state. Does not know what is compared.
"""

import math
from dataclasses import dataclass, field

import numpy as np

from learners.bets import BETS, raised
from learners.evaluation.trials.interval import Sums
from learners.evaluation.trials.wealth import Floats

EVERY = 50  # differences, after which a block that goes on is looked at; fewer are none
TINY = 1e-12


@dataclass
class Detector:
    """Takes differences in their order, in blocks of `size`, a multiple of `EVERY`; without a size, `end` ends them.

    `margin` is μ, `spread` is s, and `needed` N / α. `alarm`: whether the evidence was once enough; `log_r` is the
    natural logarithm of mean R by the last look, minus infinity before the first.
    """

    name: str
    size: int
    margin: float
    spread: float
    needed: float
    alarm: bool = False
    log_r: float = -math.inf
    _block: Sums = field(default_factory=Sums)
    _r: list[float] = field(default_factory=lambda: [0.0] * len(BETS))

    @property
    def log_needed(self) -> float:
        """The natural logarithm of what makes an alarm."""
        return math.log(self.needed)

    def take(self, differences: Floats) -> int | None:
        """Take the next differences (n,); return how many of them make an alarm, which there is once; else None."""
        taken = 0
        while taken < len(differences) and not self.alarm:
            room = self.size - self._block.samples if self.size else len(differences)
            part = differences[taken : taken + room]
            if (at := self._fill(part)) is not None:
                return taken + at
            taken += len(part)
            if self._block.samples == self.size:
                self.end()
        return None

    def end(self) -> bool:
        """End a block, if it has `EVERY` differences; return whether this makes an alarm."""
        if self.alarm or self._block.samples < EVERY:
            return False
        self._r, self._block = self._ahead(self._block), Sums()
        return self.alarm

    def _fill(self, part: Floats) -> int | None:
        """Add to the block; return how many make an alarm."""
        before = self._block.samples
        totals, squares = (
            np.cumsum(np.concatenate([[begun], rows]))
            for begun, rows in ((self._block.total, part), (self._block.squares, part**2))
        )
        for at in range(EVERY - before % EVERY, len(part) + 1, EVERY):
            if totals[at] <= self.margin * (before + at):
                continue  # no evidence
            self._ahead(Sums(before + at, float(totals[at]), float(squares[at])))
            if self.alarm:
                return at
        self._block = Sums(before + len(part), float(totals[-1]), float(squares[-1]))
        return None

    def _ahead(self, block: Sums) -> list[float]:
        """Look: return R if the block ended here."""
        wide = math.sqrt(self.spread**2 + block.spread**2 / block.samples + TINY**2)
        gain = 2 * max(0.0, (block.mean - self.margin) / wide) ** 2 - 1
        found = raised(self._r, gain)
        mean = sum(found) / len(found)
        self.log_r, self.alarm = math.log(mean), mean >= self.needed
        return found
