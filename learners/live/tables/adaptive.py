"""A table learned by normalized adaptive steps that are invariant to a sample's weight (Ross, Mineiro & Langford, 2013;
Karampatziakis & Langford, 2011): `nag`.

A slot holds the weight w, the sum G of its squared slopes, and m, its largest |x|; t samples and N are the table's:

    a larger |x|: w ← w m/|x|, m ← |x|       g = p − y    N ← N + Σ x²/m²    G ← G + g² x² u    r = ½ √(t/N)
    q = r Σ x²/(√G m)                        w ← w + (Δz/q) r x/(√G m)

Δz is where the gradient flow ends after the time q u: the margin a (z, or −z for the label 0) moves to a′ with
a′ + e^a′ = a + e^a + q u, which Newton's steps find from above. Owns these tables. Does not know what a feature is.
"""

from typing import Any

import numpy as np

from learners.live.compiled import Doubles, Floats, compiled
from learners.live.features.hashing import Hashed, dot
from learners.live.tables.arrays import Arrays

RATE, FIRST = 0.25, 1.0
UNTOUCHED = (0.0, 0.0, 1.0)  # the constant, whose x is 1
STEPS = 12  # Newton's; the first is at most one too far
STEEP = 50.0  # a margin beyond it moves as if it were there


@compiled
def moved(margin: float, time: float) -> float:
    """Return how far a margin moves in the flow of the log loss."""
    a = min(max(margin, -STEEP), STEEP)
    goal = a + np.exp(a) + time
    end = min(a + time, np.log(goal)) if goal > 1 else a + time
    for _ in range(STEPS):
        e = np.exp(end)
        end -= (end + e - goal) / (1 + e)
    return max(end - a, 0.0)


@compiled
def size(slot: Any) -> float:
    """Return √(G + G₀ m²) m: what a step is divided by."""
    return float(np.sqrt(np.float64(slot[1]) + FIRST * np.float64(slot[2]) * slot[2]) * slot[2])


@compiled
def learn_one(
    hashed: Hashed, start: int, end: int, label: float, weight: float, table: Floats, constant: Doubles, total: Doubles
) -> None:
    """Let the table, and the constant's slot, learn the row of features from `start` to `end`."""
    slots, values, _ = hashed
    z, norm = constant[0], 1.0
    for i in range(start, end):
        x, at = np.float64(values[i]), slots[i]
        most = np.float64(table[at, 2])
        if abs(x) > most:
            table[at, 0] *= np.float32(most / abs(x))
            table[at, 2] = most = abs(x)
        z += table[at, 0] * x
        norm += (x / most) * (x / most)
    total[0] += 1
    total[1] += norm
    slope = 1 / (1 + np.exp(-z)) - label
    square, rate = slope * slope * weight, RATE * np.sqrt(total[0] / total[1])
    constant[1] += square
    q = 1 / size(constant)
    for i in range(start, end):
        x, at = np.float64(values[i]), slots[i]
        table[at, 1] += np.float32(square * x * x)
        q += x * x / size(table[at])
    share = step(z, label, rate * q * weight) / q
    constant[0] += share / size(constant)
    for i in range(start, end):
        table[slots[i], 0] += np.float32(share * values[i] / size(table[slots[i]]))


@compiled
def step(z: float, label: float, time: float) -> float:
    """Return Δz; between the labels 0 and 1 it is their mixture."""
    return label * moved(z, time) - (1 - label) * moved(-z, time)


@compiled
def learn_rows(
    hashed: Hashed, labels: Doubles, weights: Doubles, table: Floats, constant: Doubles, total: Doubles
) -> None:
    """Let the table learn rows in their order; a weight of 0 skips a row."""
    start = 0
    for row in range(len(labels)):
        end = hashed.ends[row, 2]
        if weights[row] > 0:
            label = min(max(labels[row], 0.0), 1.0)
            learn_one(hashed, start, end, label, weights[row], table, constant, total)
        start = end


class Adaptive:
    """A table of 2^`bits` slots: `nag`."""

    def __init__(self, bits: int) -> None:
        self.table = np.zeros((1 << bits, 3), np.float32)  # w, G and m
        self.constant = np.array(UNTOUCHED)  # the same of the constant
        self.total = np.zeros(2)  # t and N

    @property
    def means(self) -> Floats:
        """The weights that answer, one a slot."""
        return self.table[:, 0]

    @property
    def constants(self) -> Doubles:
        """What is added to every answer, (1,)."""
        return self.constant[:1]

    def answer(self, hashed: Hashed) -> Doubles:
        """Return z (N,)."""
        return self.of(dot(hashed, self.means))

    def of(self, sums: Doubles) -> Doubles:
        """Return the answers of rows whose Σ w_i x_i are these, of any shape."""
        found: Doubles = sums + self.constant[0]
        return found

    def learn(self, hashed: Hashed, labels: Doubles, weights: Doubles) -> None:
        """Learn rows in their order; a weight of 0 skips a row."""
        learn_rows(hashed, labels, weights, self.table, self.constant, self.total)

    def begin(self) -> None:
        """Forget all that was learned."""
        self.table[:] = self.total[:] = 0
        self.constant[:] = UNTOUCHED

    def arrays(self) -> Arrays:
        """Return all that was learned."""
        return {"table": self.table, "constant": self.constant, "total": self.total}
