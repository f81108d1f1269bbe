"""A table of Gaussian weights for a number: gaussian.py's `w4`, for Huber's loss or the check loss of a quantile.

Labels are measured from their first mean, in their first spread σ: y ← (y − m)/σ. With e = y − z and the noise learned,
L ← L + (ρ(e) − L)/min(n, 1,000), of the loss ρ, v, s² and λ as in gaussian.py:

    Huber      ψ = e cut to ±δ                g = (ψ/2L) u/(1 + h s²)    h = min(1, δ/|e|) u/2L
    quantile   ψ = τ where e > 0, else τ − 1  g = (ψ/L) u/(1 + h s²)     h = τ(1 − τ) u/L²
    w_i ← w_i + v_i x_i g                     |s² g| ≤ |e|

2L is the variance of the noise where it is Gaussian; h is the information of Huber's weights (1964), and of the
asymmetric Laplace density whose logarithm is the check loss (Koenker & Machado 1999). So any unit of the label gives
the same answers. The first 8 labels say m and σ; where 16, 32, … 1,024 say others (σ half or twice, or m a spread
away), the table begins anew. Owns this table. Does not know what a feature is.
"""

import numpy as np
import torch

from compressors.scale import Scale
from learners.live.compiled import Doubles, Floats, compiled
from learners.live.features.hashing import Hashed, dot
from learners.live.tables.arrays import Arrays
from learners.live.tables.gaussian import CONSTANT, CROSSES, FORGETTING, prior

FIRST, LAST = 8, 1_024  # labels that say their unit
MEMORY = 1_000.0  # errors that the noise remembers
LEAST = 1e-6  # of L, of what it is before anything is known: exact answers are no reason to be infinitely sure
LARGEST, FAR = 1e100, 1e6  # of a label; of one in σ from m
NONE = np.empty(0, np.uint32)
WILD = 9.0  # an error's loss counts as at most so many times L


@compiled
def loss(e: float, delta: float, level: float) -> float:
    """Return ρ(e): Huber's loss, or the check loss where `level` is above 0."""
    if level > 0:
        return max(level * e, (level - 1) * e)
    return min(abs(e), delta) * (abs(e) - 0.5 * min(abs(e), delta))


@compiled
def pull(e: float, noise: float, delta: float, level: float) -> tuple[float, float]:
    """Return ψ and h of an error, both over the noise."""
    if level > 0:
        return (level if e > 0 else level - 1) / noise, level * (1 - level) / noise**2
    return min(max(e, -delta), delta) / (2 * noise), min(1.0, delta / max(abs(e), 1e-300)) / (2 * noise)


@compiled
def learn_rows(
    hashed: Hashed,
    first: int,
    last: int,
    labels: Doubles,
    weights: Doubles,
    delta: float,
    level: float,
    mean: Floats,
    precision: Floats,
    constants: Doubles,
    sure: Doubles,
    noise: Doubles,
) -> None:
    """Let the table learn rows `first` to `last`; a weight of 0 skips a row."""
    slots, values, ends = hashed
    start, v0 = ends[first - 1, 2] if first else 0, np.ones(3)
    for row in range(first, last):
        stops, u = ends[row], weights[row]
        if u > 0:
            v0[0], v0[2] = prior(values, start, stops[0], 1.0), prior(values, stops[1], stops[2], CROSSES)
            base = min(CONSTANT, 1 / sure[0]) if sure[0] > 0 else CONSTANT
            z, spread, i = constants[0], base, start
            for kind in range(3):
                while i < stops[kind]:
                    x, now = np.float64(values[i]), np.float64(precision[slots[i]])
                    z += mean[slots[i]] * x
                    spread += (min(v0[kind], 1 / now) if now > 0 else v0[kind]) * x * x
                    i += 1
            e = labels[row] - z
            slope, h = pull(e, noise[0], delta, level)
            h *= u
            g = slope * u / (1 + h * spread)
            g = min(max(g, -abs(e) / spread), abs(e) / spread)
            constants[0] += base * g
            sure[0] = (1 - FORGETTING) / base + FORGETTING / CONSTANT + h
            i = start
            for kind in range(3):
                while i < stops[kind]:
                    x, at = np.float64(values[i]), slots[i]
                    now = np.float64(precision[at])
                    v = min(v0[kind], 1 / now) if now > 0 else v0[kind]
                    mean[at] += np.float32(v * x * g)
                    precision[at] = np.float32((1 - FORGETTING) / v + FORGETTING / v0[kind] + h * x * x)
                    i += 1
            noise[1] += 1
            cut = min(loss(e, delta, level), WILD * noise[0])
            noise[0] = max(noise[0] + (cut - noise[0]) / min(noise[1], MEMORY), LEAST)
        start = stops[2]


class Number:
    """A table of 2^`bits` slots for Huber's loss with `delta`, in spreads, or the check loss with `level`: `w4`."""

    def __init__(self, bits: int, delta: float, level: float) -> None:
        self._shape = min(delta, 1e150), level
        self.means = np.zeros(1 << bits, np.float32)
        self._precision = np.zeros(1 << bits, np.float32)
        self.constants = np.array([0.0, np.nan, 1.0])  # what is added to every answer, in σ, then m and σ
        self._sure = np.zeros(1)  # the precision of the first
        self._noise = np.array([0.5, FIRST])  # L, and errors that it has seen
        self._first = np.zeros(LAST)  # labels
        self._seen = np.zeros(1)  # how many labels
        self.given_up = NONE  # slots whose weights the last lessons gave up

    def answer(self, hashed: Hashed) -> Doubles:
        """Return numbers (N,), in the label's unit; NaN before there is one."""
        return self.of(dot(hashed, self.means))

    def of(self, sums: Doubles) -> Doubles:
        """Return the answers of rows whose Σ w_i x_i are these, of any shape."""
        constant, middle, spread = self.constants.tolist()
        found: Doubles = middle + spread * (sums + constant)
        return found

    def learn(self, hashed: Hashed, labels: Doubles, weights: Doubles) -> None:
        """Learn rows in their order; a weight of 0 skips a row."""
        self.given_up, first, labels = NONE, 0, np.clip(labels, -LARGEST, LARGEST)
        for row in np.flatnonzero(weights > 0).tolist():
            n = int(self._seen[0])
            if n == LAST:
                break
            self._first[n], self._seen[0] = labels[row], n + 1
            if n + 1 >= FIRST and (n + 1) & n == 0:
                self._learn(hashed, first, row, labels, weights)
                self._measure(n + 1)
                first = row
        self._learn(hashed, first, len(labels), labels, weights)

    def _learn(self, hashed: Hashed, first: int, last: int, labels: Doubles, weights: Doubles) -> None:
        _, middle, spread = self.constants.tolist()
        if np.isfinite(middle):
            y = np.clip((labels - middle) / spread, -FAR, FAR)
            own = *self._shape, self.means, self._precision, self.constants, self._sure, self._noise
            learn_rows(hashed, first, last, y, weights, *own)

    def _measure(self, n: int) -> None:
        """Measure labels by the first n from now on, if they say another unit."""
        now, (_, middle, spread) = Scale.of(torch.from_numpy(self._first[:n])), self.constants.tolist()
        if abs(now.mean - middle) <= now.spread and 0.5 <= now.spread / spread <= 2:
            return
        self.given_up = np.append(self.given_up, np.flatnonzero(self.means).astype(np.uint32))
        for array in (self.means, self._precision, self._sure):
            array[:] = 0
        self._noise[:], self.constants[:] = (0.5, FIRST), (0.0, now.mean, max(now.spread, 1 / LARGEST))

    def begin(self) -> None:
        """Forget the weights; the labels' spread stays."""
        self.means[:] = self._precision[:] = self._sure[:] = 0
        self.constants[0] = 0

    def arrays(self) -> Arrays:
        """Return all that was learned."""
        tables = {"mean": self.means, "precision": self._precision, "constants": self.constants, "sure": self._sure}
        return tables | {"noise": self._noise, "first": self._first, "seen": self._seen}
