"""Tables of Gaussian weights, learned by assumed density: there is no learning rate, and no step is larger than what is
not yet known allows.

A slot holds the mean w and the precision λ of its weight (0: untouched). With the prior variance v₀ of a feature, the
label y, the weight u and the forgetting f:

    v_i = min(v₀, 1/λ_i)    z = Σ w_i x_i    s² = Σ v_i x_i²    p = σ(z/√(1 + π s²/8))    h = max(p(1 − p), 1e-4) u
    g = (y − p) u/(1 + h s²)    w_i ← w_i + v_i x_i g    λ_i ← (1 − f)/v_i + f/v₀ + h x_i²

a diagonal Kalman filter with the probit approximation (MacKay 1992; Graepel et al. 2010). v₀ is 4 of the constant,
1/Σx² of mains, 0.3/Σx² of crosses, each over its own sum in the sample (at least 1), and 1 of words: so the logit's
prior does not depend on how many fields there are. A constant may forget faster than slots. Owns these tables. Does not
know what a feature is.
"""

import numpy as np

from learners.live.compiled import Doubles, Floats, Ints, compiled
from learners.live.features.hashing import Hashed, dot
from learners.live.tables.arrays import Arrays

FORGETTING = 1e-4  # a slot remembers about its last 10,000 touches
CONSTANT, CROSSES = 4.0, 0.3  # prior variances; each row's mains have 1 together, its crosses 0.3
LEAST = 1e-4  # of p (1 − p): a sure and wrong weight still moves
SOFTENS = np.pi / 8  # how far what is not known pulls p to one half


@compiled
def prior(values: Floats, start: int, end: int, total: float) -> float:
    """Return v₀ of some features of a row, which have the variance `total` together."""
    squares = 0.0
    for i in range(start, end):
        squares += np.float64(values[i]) * values[i]
    return total / max(squares, 1.0)


@compiled
def learn_one(
    hashed: Hashed,
    row: int,
    start: int,
    label: float,
    weight: float,
    forgets: float,
    fades: float,
    mean: Floats,
    precision: Floats,
    head: int,
    constant: Doubles,
    at: int,
    offset: float,
    softens: float,
    known: Doubles,
) -> None:
    """Let one head of the tables, and the constant `at`, learn the row whose features begin at `start`."""
    slots, values, ends = hashed
    v0, stops = np.empty(3), ends[row]
    v0[0], v0[1] = prior(values, start, stops[0], 1.0), 1.0
    v0[2] = prior(values, stops[1], stops[2], CROSSES)
    base = min(CONSTANT, 1 / constant[at, 1]) if constant[at, 1] > 0 else CONSTANT
    z, variance, i = offset + constant[at, 0], base, start
    for kind in range(3):
        while i < stops[kind]:
            x, now = np.float64(values[i]), np.float64(precision[slots[i], head])
            known[i - start] = v = min(v0[kind], 1 / now) if now > 0 else v0[kind]
            z += mean[slots[i], head] * x
            variance += v * x * x
            i += 1
    p = 1 / (1 + np.exp(-z / np.sqrt(1 + softens * variance)))
    h = max(p * (1 - p), LEAST) * weight
    g = (label - p) * weight / (1 + h * variance)
    constant[at, 0] += base * g
    constant[at, 1] = (1 - fades) / base + fades / CONSTANT + h
    i = start
    for kind in range(3):
        while i < stops[kind]:
            x, v = np.float64(values[i]), known[i - start]
            mean[slots[i], head] += np.float32(v * x * g)
            precision[slots[i], head] = np.float32((1 - forgets) / v + forgets / v0[kind] + h * x * x)
            i += 1


@compiled
def learn_rows(
    hashed: Hashed,
    labels: Doubles,
    weights: Doubles,
    forgets: Doubles,
    fades: Doubles,
    mean: Floats,
    precision: Floats,
    heads: Ints,
    constant: Doubles,
    ats: Ints,
    before: int,
    offset: float,
    softens: float,
) -> None:
    """Let each row's head and constant learn it; a weight of 0 skips a row.

    A constant begins at the mean of the one `before` it, if that is not 0.
    """
    longest = start = 0
    for row in range(len(labels)):
        longest, start = max(longest, hashed.ends[row, 2] - start), hashed.ends[row, 2]
    known, start = np.empty(longest), 0
    for row in range(len(labels)):
        if weights[row] > 0:
            label, weight, at = min(max(labels[row], 0.0), 1.0), weights[row], ats[row]
            if constant[at, 1] == 0 and 0 < before <= at:
                constant[at, 0] = constant[at - before, 0]
            learn_one(
                hashed,
                row,
                start,
                label,
                weight,
                forgets[row],
                fades[row],
                mean,
                precision,
                heads[row],
                constant,
                at,
                offset,
                softens,
                known,
            )
        start = hashed.ends[row, 2]


class Gaussian:
    """A table of 2^`bits` slots, which forgets: `w4`."""

    def __init__(self, bits: int, forgetting: float = FORGETTING) -> None:
        self._forgetting = forgetting
        self._weights = np.zeros((1 << bits, 1, 2), np.float32)  # beside each other: a slot is fetched once
        self.mean, self.precision = self._weights[..., 0], self._weights[..., 1]
        self.constant = np.zeros((1, 2))  # its mean and precision

    @property
    def means(self) -> Floats:
        """The weights that answer, one a slot."""
        return self.mean[:, 0]

    @property
    def constants(self) -> Doubles:
        """What is added to every answer, (1,)."""
        return self.constant[:, 0]

    def answer(self, hashed: Hashed) -> Doubles:
        """Return z (N,)."""
        return self.of(dot(hashed, self.means))

    def of(self, sums: Doubles) -> Doubles:
        """Return the answers of rows whose Σ w_i x_i are these, of any shape."""
        found: Doubles = sums + self.constant[0, 0]
        return found

    def learn(self, hashed: Hashed, labels: Doubles, weights: Doubles) -> None:
        """Learn rows in their order; a weight of 0 skips a row."""
        first, forgets = np.zeros(len(labels), np.int64), np.full(len(labels), self._forgetting)
        own = self.mean, self.precision, first, self.constant, first
        learn_rows(hashed, labels, weights, forgets, forgets, *own, 0, 0.0, SOFTENS)

    def begin(self) -> None:
        """Forget all that was learned."""
        self._weights[:] = self.constant[:] = 0

    def arrays(self) -> Arrays:
        """Return all that was learned."""
        return {"mean": self.mean, "precision": self.precision, "constant": self.constant}
