"""Tables of weights of K classes, K a slot: those of gaussian.py and adaptive.py for p = softmax(z_1, …, z_K).

The class y came with the weight u; y_c is 1 for it, else 0. *Gaussian*, each class by the formulas of gaussian.py, with
what is moderated under one softmax:

    p = softmax(z_c/√(1 + π s_c²/8))    h_c = max(p_c(1 − p_c), 1e-4) u    g_c = (y_c − p_c) u/(1 + h_c s_c²)

*Adaptive*, with one m a slot, t and N of all, and for each class G and q of adaptive.py:

    g = p_c − y_c    G ← G + g² x² u    q = r Σ x²/(√G m)    Δz = −q g u/(1 + p_c(1 − p_c) q u)

the implicit step (Kulis & Bartlett 2010) under the curvature at its start, which bounds it as the flow does in
adaptive.py. Heads of each class against the rest say too little where classes are many: of ten digits .74 nats for .54.
Owns these tables. Does not know what a feature is.
"""

import numpy as np

from learners.live.compiled import Doubles, Floats, compiled
from learners.live.features.hashing import Hashed, dots
from learners.live.tables.adaptive import FIRST, RATE
from learners.live.tables.arrays import Arrays
from learners.live.tables.gaussian import CONSTANT, CROSSES, FORGETTING, LEAST, SOFTENS, prior


@compiled
def chances(z: Doubles) -> Doubles:
    """Return softmax(z), (K,)."""
    p: Doubles = np.exp(z - z.max())
    p /= p.sum()
    return p


@compiled
def gaussian_rows(
    hashed: Hashed, labels: Doubles, weights: Doubles, mean: Floats, precision: Floats, constant: Doubles
) -> None:
    """Let the Gaussian weights learn rows in their order; a weight of 0, or no such class, skips a row."""
    slots, values, ends = hashed
    classes, start = mean.shape[1], 0
    v0, own = np.ones(3), np.empty((5, classes))
    z, spread, base, h, g = own[0], own[1], own[2], own[3], own[4]
    for row in range(len(labels)):
        stops, u = ends[row], weights[row]
        if u > 0 and 0 <= labels[row] < classes:
            v0[0], v0[2] = prior(values, start, stops[0], 1.0), prior(values, stops[1], stops[2], CROSSES)
            for c in range(classes):
                base[c] = min(CONSTANT, 1 / constant[c, 1]) if constant[c, 1] > 0 else CONSTANT
                z[c], spread[c] = constant[c, 0], base[c]
            i = start
            for kind in range(3):
                while i < stops[kind]:
                    x, at = np.float64(values[i]), slots[i]
                    for c in range(classes):
                        now = np.float64(precision[at, c])
                        z[c] += mean[at, c] * x
                        spread[c] += (min(v0[kind], 1 / now) if now > 0 else v0[kind]) * x * x
                    i += 1
            p = chances(z / np.sqrt(1 + SOFTENS * spread))
            for c in range(classes):
                h[c] = max(p[c] * (1 - p[c]), LEAST) * u
                g[c] = (int(c == int(labels[row])) - p[c]) * u / (1 + h[c] * spread[c])
                constant[c, 0] += base[c] * g[c]
                constant[c, 1] = (1 - FORGETTING) / base[c] + FORGETTING / CONSTANT + h[c]
            i = start
            for kind in range(3):
                while i < stops[kind]:
                    x, at = np.float64(values[i]), slots[i]
                    for c in range(classes):
                        now = np.float64(precision[at, c])
                        v = min(v0[kind], 1 / now) if now > 0 else v0[kind]
                        mean[at, c] += np.float32(v * x * g[c])
                        precision[at, c] = np.float32((1 - FORGETTING) / v + FORGETTING / v0[kind] + h[c] * x * x)
                    i += 1
        start = stops[2]


@compiled
def adaptive_rows(
    hashed: Hashed,
    labels: Doubles,
    weights: Doubles,
    table: Floats,
    squares: Floats,
    largest: Floats,
    constant: Doubles,
    total: Doubles,
) -> None:
    """Let the adaptive weights learn rows in their order; a weight of 0, or no such class, skips a row."""
    slots, values, ends = hashed
    classes, start = table.shape[1], 0
    for row in range(len(labels)):
        end, u = ends[row, 2], weights[row]
        if u > 0 and 0 <= labels[row] < classes:
            z, norm = constant[:, 0].copy(), 1.0
            for i in range(start, end):
                x, at = np.float64(values[i]), slots[i]
                most = np.float64(largest[at])
                if abs(x) > most:
                    for c in range(classes):
                        table[at, c] *= np.float32(most / abs(x))
                    largest[at] = most = abs(x)
                for c in range(classes):
                    z[c] += table[at, c] * x
                norm += (x / most) * (x / most)
            total[0] += 1
            total[1] += norm
            rate, p = RATE * np.sqrt(total[0] / total[1]), chances(z)
            for c in range(classes):
                slope = p[c] - int(c == int(labels[row]))
                constant[c, 1] += slope * slope * u
                q = 1 / np.sqrt(constant[c, 1] + FIRST)
                for i in range(start, end):
                    x, at = np.float64(values[i]), slots[i]
                    squares[at, c] += np.float32(slope * slope * u * x * x)
                    q += x * x / _size(squares[at, c], largest[at])
                step = -rate * slope * u / (1 + p[c] * (1 - p[c]) * rate * q * u)
                constant[c, 0] += step / np.sqrt(constant[c, 1] + FIRST)
                for i in range(start, end):
                    at = slots[i]
                    table[at, c] += np.float32(step * values[i] / _size(squares[at, c], largest[at]))
        start = end


@compiled
def _size(square: float, most: float) -> float:
    """Return √(G + G₀ m²) m: what a step is divided by."""
    m = np.float64(most)
    return float(np.sqrt(np.float64(square) + FIRST * m * m) * m)


class Columns:
    """What such tables share: weights that answer, `means` (slots, K), and K constants with what each is by."""

    def __init__(self, means: Floats, constant: Doubles) -> None:
        self.means, self._constant = means, constant

    @property
    def constants(self) -> Doubles:
        """What is added to every answer, (K,)."""
        return self._constant[:, 0]

    def answer(self, hashed: Hashed) -> Doubles:
        """Return z (N, K)."""
        return self.of(dots(hashed, self.means))

    def of(self, sums: Doubles) -> Doubles:
        """Return the answers of rows whose Σ w_i x_i are these, (N, K)."""
        return sums + self.constants

    def begin(self) -> None:
        """Forget all that was learned."""
        for array in self.arrays().values():
            array[...] = 0

    def arrays(self) -> Arrays:
        """Return all that was learned."""
        raise NotImplementedError


class SoftmaxGaussian(Columns):
    """2^`bits` slots of K Gaussian weights, which forget: `w4`."""

    def __init__(self, bits: int, classes: int) -> None:
        super().__init__(
            np.zeros((1 << bits, classes), np.float32), np.zeros((classes, 2))
        )  # their means and precisions
        self._precision = np.zeros((1 << bits, classes), np.float32)

    def learn(self, hashed: Hashed, labels: Doubles, weights: Doubles) -> None:
        """Learn rows and their classes in their order; a weight of 0 skips a row."""
        gaussian_rows(hashed, labels, weights, self.means, self._precision, self._constant)

    def arrays(self) -> Arrays:
        """Return all that was learned."""
        return {"mean": self.means, "precision": self._precision, "constant": self._constant}


class SoftmaxAdaptive(Columns):
    """2^`bits` slots of K weights, learned by adaptive steps: `nag`."""

    def __init__(self, bits: int, classes: int) -> None:
        super().__init__(np.zeros((1 << bits, classes), np.float32), np.zeros((classes, 2)))  # their w and G
        self._squares = np.zeros((1 << bits, classes), np.float32)  # G
        self._largest = np.zeros(1 << bits, np.float32)  # m
        self._total = np.zeros(2)  # t and N

    def learn(self, hashed: Hashed, labels: Doubles, weights: Doubles) -> None:
        """Learn rows and their classes in their order; a weight of 0 skips a row."""
        own = self.means, self._squares, self._largest, self._constant, self._total
        adaptive_rows(hashed, labels, weights, *own)

    def arrays(self) -> Arrays:
        """Return all that was learned."""
        own = {"mean": self.means, "squares": self._squares, "largest": self._largest}
        return own | {"constant": self._constant, "total": self._total}
