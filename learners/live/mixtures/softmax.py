"""What several experts say of K classes, made one answer: mixture.py's stacks, combiners and bets, over softmaxes.

An expert's word on a sample is x_k = log p_k for each class k, cut at −9. *Stack*, one θ for all classes, begun at
the average; the recursion of mixture.py for K logits, whose curvature is that of a softmax:

    p = softmax(θ·x_1, …, θ·x_K)     x̄ = Σ p_k x_k     H = Σ p_k (x_k − x̄)(x_k − x̄)ᵀ     S⁻¹ ← S⁻¹ + τu H
    θ ← θ + τu S (x_y − x̄)

of which S⁻¹ takes K steps of rank one (Sherman & Morrison 1950). *Combiners*: the average, a slow stack, a fast one,
chosen among by the same bets, p = Σ ω_c p_c. An expert that has no answer is spoken for by the average of the others.
Owns θ, S and ω. Does not know who the experts are, or when a label is learned.
"""

from collections.abc import Mapping

import numpy as np
from torch import Tensor

from learners.live.compiled import Doubles, compiled
from learners.live.mixtures.mixture import CURVATURE, FLOOR, LOGIT, SCALE, SPEED, STACKS, SWITCH, choose, times
from learners.live.tables.arrays import Arrays, restore, state_of, usable


class Softmax:
    """One answer of E experts on K classes.

    >>> even = Softmax(3, 2)
    >>> said = np.array([[0.0, 1.0, 2.0, 0.0, 3.0, 2.0]])  # of one sample: two experts, three classes
    >>> np.exp(even.answer(said)).round(2)
    array([[0.06, 0.47, 0.47]])
    >>> even.learn(np.repeat(said, 100, 0), np.ones(100), np.ones(100))
    >>> np.exp(even.answer(said)).round(1)
    array([[0. , 0.6, 0.3]])
    """

    def __init__(self, classes: int, experts: int, eta: float = 1.0, switch: float = SWITCH) -> None:
        self._shape, self._pace = (-1, experts, classes), (eta, switch)
        self.theta = np.full((STACKS, experts), 1 / experts)
        self.variance = np.stack([np.eye(experts) * scale for scale in SCALE])
        self.weights = np.full(1 + STACKS, 1 / (1 + STACKS))

    def answer(self, said: Doubles) -> Doubles:
        """Return log p (N, K) of what the experts said (N, E · K), each logits of K classes."""
        p = np.einsum("nck,c->nk", _answers(self._log_p(said), self.theta), self.weights)
        found: Doubles = np.log(p)
        return found

    def learn(self, said: Doubles, labels: Doubles, weights: Doubles) -> None:
        """Follow classes (N,) in their order, but none that is not finite, or whose weight is not above 0."""
        own = *self._pace, self.theta, self.variance, self.weights
        _follow(self._log_p(said), labels, usable(weights, labels), *own)

    def state(self) -> dict[str, Tensor]:
        """Return copies of all that changes."""
        return state_of(self._arrays())

    def load(self, state: Mapping[str, Tensor]) -> None:
        """Go on from a state."""
        restore(self._arrays(), state)

    def _arrays(self) -> Arrays:
        return {"theta": self.theta, "variance": self.variance, "weights": self.weights}

    def _log_p(self, said: Doubles) -> Doubles:
        logits = np.ascontiguousarray(said).reshape(self._shape)
        known = np.asarray(np.isfinite(logits).all(2))
        log_p = log_softmax(np.where(known[..., None], logits, 0.0))
        if known.all():
            return log_p
        spoken = (log_p * known[..., None]).sum(1) / np.maximum(known.sum(1), 1)[:, None]
        return np.where(known[..., None], log_p, spoken[:, None])


def log_softmax(logits: Doubles) -> Doubles:
    """Return log p of logits (…, K), at least −9."""
    off = logits - logits.max(-1, keepdims=True)
    found: Doubles = np.maximum(off - np.log(np.exp(off).sum(-1, keepdims=True)), -LOGIT)
    return found


@compiled
def softmax(theta: Doubles, x: Doubles, found: Doubles) -> None:
    """Write softmax(θ·x_k) of words x (E, K) into `found` (K,)."""
    most = -np.inf
    for k in range(x.shape[1]):
        z = 0.0
        for i in range(len(theta)):
            z += theta[i] * x[i, k]
        found[k] = z
        most = max(most, z)
    total = 0.0
    for k in range(len(found)):
        found[k] = max(np.exp(found[k] - most), 1e-12)
        total += found[k]
    for k in range(len(found)):
        found[k] /= total


@compiled
def _answers(x: Doubles, theta: Doubles) -> Doubles:
    """Return each combiner's p (N, C, K), of words x (N, E, K)."""
    p = np.empty((len(x), 1 + len(theta), x.shape[2]))
    even = np.full(x.shape[1], 1 / x.shape[1])
    for n in range(len(x)):
        softmax(even, x[n], p[n, 0])
        for c in range(len(theta)):
            softmax(theta[c], x[n], p[n, 1 + c])
    return p


@compiled
def _follow(
    x: Doubles, labels: Doubles, weights: Doubles, eta: float, switch: float, theta: Doubles, variance: Doubles,
    omega: Doubles,
) -> None:  # fmt: skip
    """Let θ, S and ω, in place, follow N samples."""
    experts, classes = x.shape[1:]
    for n in range(len(x)):
        u = weights[n]
        if not (u > 0 and 0 <= labels[n] < classes):
            continue
        y = int(labels[n])
        p = _answers(x[n : n + 1], theta)[0]
        for c in range(len(theta)):
            tau = SPEED[c] * u
            middle = np.zeros(experts)
            for k in range(classes):
                middle += p[1 + c, k] * x[n, :, k]
            for k in range(classes):
                v = x[n, :, k] - middle
                gain = times(variance[c], v)
                curve = max(p[1 + c, k], CURVATURE) * tau
                whole = 1 + curve * max((v * gain).sum(), 0.0)
                for i in range(experts):
                    variance[c, i] -= gain[i] * gain * (curve / whole)
            theta[c] += tau * times(variance[c], x[n, :, y] - middle)
        bets = np.array([eta * u * np.log(max(p[c, y], FLOOR)) for c in range(len(omega))])
        choose(omega, bets, switch, np.full(len(omega), 1 / len(omega)))
