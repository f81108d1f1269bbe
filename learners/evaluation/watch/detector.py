"""A change detector: evidence that a mean difference has risen above a margin, whenever that began.

An e-detector (Shin, Ramdas & Rinaldo, arXiv 2203.03532): a Shiryaev-Roberts sum of bets, mixed over six stakes. A block
of differences has the mean x. With the margin μ and the scale s, the root of the mean square of earlier x − μ:

    u = tanh((x − μ) / s)      R_j ← (R_j + 1)(1 + 0.99 · 2^−j · u),  j = 0 … 5      an alarm at mean R ≥ N / α

While x − μ has the sign that it has by chance, u is 0 in the mean, so that there are at most α alarms in N blocks.
Owns one detector's state. Does not know what is compared.
"""

import math
from dataclasses import dataclass, field

BETS = tuple(0.99 * 2.0**-j for j in range(6))
PRIOR = 10  # blocks that the first scale counts for


@dataclass
class Detector:
    """Takes differences in their order, in blocks of `size`; `margin` is μ, `needed` is N / α.

    `scale` is what a block's mean is off μ before any was seen, `log_r` the log of mean R, `alarm` whether it was once
    enough.
    """

    name: str
    size: int
    margin: float
    needed: float
    scale: float
    alarm: bool = False
    _sum: float = 0.0
    _count: int = 0
    _squares: float = 0.0
    _blocks: int = 0
    _r: list[float] = field(default_factory=lambda: [0.0] * len(BETS))

    def __post_init__(self) -> None:
        self._squares, self._blocks = PRIOR * self.scale**2, PRIOR

    @property
    def log_r(self) -> float:
        """The natural logarithm of the mean R; minus infinity before the first block."""
        mean = sum(self._r) / len(self._r)
        return math.log(mean) if mean > 0 else -math.inf

    @property
    def log_needed(self) -> float:
        """The natural logarithm of what makes an alarm."""
        return math.log(self.needed)

    def add(self, difference: float) -> bool:
        """Take the next difference; return whether this makes an alarm, which it does once."""
        self._sum, self._count = self._sum + difference, self._count + 1
        return self._count == self.size and self.end()

    def end(self) -> bool:
        """End a block, of whatever size; return whether this makes an alarm."""
        if not self._count or self.alarm:
            return False
        off = self._sum / self._count - self.margin
        self._sum, self._count = 0.0, 0
        scale = math.sqrt(self._squares / self._blocks) if self._blocks else 0.0
        u = math.tanh(off / scale) if scale else math.copysign(1.0, off) if off else 0.0
        self._r = [(r + 1) * (1 + bet * u) for r, bet in zip(self._r, BETS, strict=True)]
        self._squares, self._blocks = self._squares + off * off, self._blocks + 1
        self.alarm = sum(self._r) / len(self._r) >= self.needed
        return self.alarm
