"""What several experts say, made one answer: their logits stacked by Kalman recursions, and those chosen among by bets.

*Stack* (de Vilmarest & Wintenberger 2021: a Kalman filter for logistic regression; MacKay 1992 for the moderated p), of
x = (z₁ … z_K, 1), begun at the experts' shares, for a label y of weight u:

    p = σ(θ·x / √(1 + π s²/8))     s² = xᵀSx     h = max(p(1 − p), 10⁻⁴) τu
    θ ← θ + S x (y − p) τu / (1 + h s²)          S ← S − S x xᵀS h / (1 + h s²)

*Combiners*: the average by shares, which never moves; a slow stack, a fast one; and, where one expert may answer alone,
that expert, which has half of the choice at first. *Choice* (Vovk 1990's aggregating algorithm, with Herbster & Warmuth
1998's fixed share):

    ω_c ← ω_c P_c(y)^{ηb}, normalized     ω ← (1 − α) ω + α ω⁰     p = Σ ω_c p_c

The bet b is u, or less: samples that err together are one piece of evidence, and what experts said when they were young
tells little of what they say now. A stack can mend what it learned of them; a choice that is made has no such way.

Log loss is mixable at η = 1: against the best sequence of combiners with k switches the loss is at most
ln C + k ln(C/α) + αT higher, with C = 1/min ω⁰. With the average among them nothing depends on the stacks alone: their
bound is local.

An expert that has no answer (NaN) is spoken for by the average of those that have one. Owns θ, S and ω. Does not know
who the experts are, or when a label is learned.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from torch import Tensor

from learners.live.compiled import Doubles, compiled
from learners.live.tables.arrays import Arrays, restore, state_of, usable

LOGIT = 9.0  # an expert's logit is cut to ±9
SCALE, SPEED = (1e-3, 1e-2), (0.1, 1.0)  # slow, fast: the variance of θ at the start; τ
CONSTANT = 1e-3  # that of the constant: a larger one follows the arrivals' base rate
CURVATURE, FLOOR = 1e-4, 1e-4  # of p(1 − p); of a combiner's P(y), so that one sample costs it at most 9.2 nats
SWITCH = 1e-5  # α, where η is 1
AVERAGE, STACKS = 0, 2  # the first combiner; those after it


class Mixture:
    """One answer of K experts; `shares` (K,) are their parts in the average. `alone` may answer by itself.

    After the experts' logits come `hints`, numbers that are no answers: the stacks learn what they are worth.

    >>> even = Mixture([0.5, 0.5])
    >>> even.answer(np.array([[1.0, 1.0], [-2.0, 2.0]])).round(3)
    array([0.731, 0.5  ])
    >>> even.learn(np.full((400, 2), [-1.0, 3.0]), np.zeros(400), np.ones(400))
    >>> even.answer(np.array([[-1.0, 3.0]])).round(1)
    array([0.1])
    """

    def __init__(
        self,
        shares: Sequence[float],
        *,
        eta: float = 1.0,
        switch: float = SWITCH,
        alone: int | None = None,
        hints: int = 0,
    ) -> None:
        self._shares = np.array([*shares, *[0.0] * hints], dtype=np.float64) / sum(shares)
        self._eta, self._switch, self._alone = eta, switch, -1 if alone is None else alone
        experts = len(self._shares)
        self.theta = np.tile(np.append(self._shares, 0.0), (STACKS, 1))
        self.variance = np.stack([np.diag([*[scale] * experts, CONSTANT]) for scale in SCALE])
        first = np.array([1.0] * (1 + STACKS) + [1.0 + STACKS] * (alone is not None))
        self._first = first / first.sum()
        self.weights = self._first.copy()

    def answer(self, logits: Doubles) -> Doubles:
        """Return p (N,) of logits (N, K)."""
        logits = np.ascontiguousarray(logits)
        return mixed(logits, self._shares, self._alone, self.theta, self.variance, self.weights)

    def learn(self, logits: Doubles, labels: Doubles, weights: Doubles, bets: Doubles | None = None) -> None:
        """Follow labels (N,) of 0 and 1 in their order, but none that is not finite, or whose weight is not above 0.

        `logits` (N, K) are those recorded at the prediction; `bets` (N,) are what samples weigh in the choice, not
        above `weights`, which they are by themselves.
        """
        own = self._shares, self._alone, self._eta, self._switch, self._first
        logits, weights = np.ascontiguousarray(logits), usable(weights, labels)
        bets = weights if bets is None else np.minimum(bets, weights)
        follow(logits, labels, weights, bets, *own, self.theta, self.variance, self.weights)

    def state(self) -> dict[str, Tensor]:
        """Return copies of all that changes."""
        return state_of(self._arrays())

    def load(self, state: Mapping[str, Tensor]) -> None:
        """Go on from a state."""
        restore(self._arrays(), state)

    def _arrays(self) -> Arrays:
        return {"theta": self.theta, "variance": self.variance, "weights": self.weights}


@compiled
def _said(logits: Doubles, shares: Doubles) -> Doubles:
    """Return logits (N, K) within ±9; for one that is NaN the average by shares of those that are not."""
    said = np.empty(logits.shape)
    for n in range(len(logits)):
        total = part = 0.0
        for i in range(len(shares)):
            if not np.isnan(logits[n, i]):
                said[n, i] = min(max(logits[n, i], -LOGIT), LOGIT)
                total += said[n, i] * shares[i]
                part += shares[i]
        for i in range(len(shares)):
            if np.isnan(logits[n, i]):
                said[n, i] = total / part if shares[i] > 0 and part > 0 else 0.0
    return said


@compiled
def _sigmoid(z: float) -> float:
    return float(1.0 / (1.0 + np.exp(-z)))


@compiled
def _answers(said: Doubles, shares: Doubles, alone: int, theta: Doubles, variance: Doubles) -> Doubles:
    """Return each combiner's p: (N, C)."""
    rows, experts = said.shape
    combiners = 1 + len(theta) + (alone >= 0)
    p = np.empty((rows, combiners))
    for n in range(rows):
        z = 0.0
        for i in range(experts):
            z += said[n, i] * shares[i]
        p[n, 0] = _sigmoid(z)
        for c in range(len(theta)):
            z, spread = theta[c, experts], variance[c, experts, experts]
            for i in range(experts):
                z += theta[c, i] * said[n, i]
                crossed = variance[c, i, experts]
                for j in range(i):
                    crossed += variance[c, i, j] * said[n, j]
                spread += said[n, i] * (2 * crossed + variance[c, i, i] * said[n, i])
            p[n, 1 + c] = _sigmoid(z / np.sqrt(1 + np.pi * max(spread, 0.0) / 8))
        if alone >= 0:
            p[n, combiners - 1] = _sigmoid(said[n, alone])
    return p


@compiled
def mixed(
    logits: Doubles, shares: Doubles, alone: int, theta: Doubles, variance: Doubles, omega: Doubles
) -> Doubles:  # fmt: skip
    """Return p (N,)."""
    of_each = _answers(_said(logits, shares), shares, alone, theta, variance)
    p = np.zeros(len(logits))
    for n in range(len(logits)):
        for c in range(len(omega)):
            p[n] += of_each[n, c] * omega[c]
    return p


@compiled
def follow(
    logits: Doubles, labels: Doubles, weights: Doubles, bets: Doubles, shares: Doubles, alone: int, eta: float,
    switch: float, first: Doubles, theta: Doubles, variance: Doubles, omega: Doubles,
) -> None:  # fmt: skip
    """Let θ, S and ω, in place, follow N samples."""
    said, experts = _said(logits, shares), len(shares)
    x = np.ones(experts + 1)
    for n in range(len(said)):
        y, u = min(max(labels[n], 0.0), 1.0), weights[n]
        if not (np.isfinite(labels[n]) and u > 0):
            continue
        x[:experts] = said[n]
        p = _answers(said[n : n + 1], shares, alone, theta, variance)[0]
        for c in range(len(theta)):
            gain = times(variance[c], x)
            tau = SPEED[c] * u
            curve = max(p[1 + c] * (1 - p[1 + c]), CURVATURE) * tau
            whole = 1 + curve * max((x * gain).sum(), 0.0)
            theta[c] += gain * ((y - p[1 + c]) * tau / whole)
            for i in range(experts + 1):
                variance[c, i] -= gain[i] * gain * (curve / whole)
        bet = eta * bets[n]
        won = np.array([bet * np.log(max(p[c] if y > 0.5 else 1 - p[c], FLOOR)) for c in range(len(omega))])
        choose(omega, won, switch, first)


@compiled
def choose(omega: Doubles, won: Doubles, switch: float, first: Doubles) -> None:
    """Let ω, in place, follow what each combiner won; each keeps a share, as it had one at first."""
    omega *= np.exp(won - won.max())
    omega /= omega.sum()
    for c in range(len(omega)):
        omega[c] = (1 - switch) * omega[c] + switch * first[c]


@compiled
def times(matrix: Doubles, x: Doubles) -> Doubles:
    """Return matrix·x; no BLAS, whose sums may differ by machine."""
    y = np.zeros(len(x))
    for i in range(len(x)):
        for j in range(len(x)):
            y[i] += matrix[i, j] * x[j]
    return y
