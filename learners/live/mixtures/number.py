"""What several experts say of a number, made one answer: mixture.py's stacks, combiners and bets, in the label's unit.

Of the average a of the experts' words x, and d = x − a, a *stack* answers a + φ·d, begun at φ = 0; S has no unit, and
the noise is learned of the losses of what is served, L ← L + (ρ(y − ŷ) − L)/min(n, 1,000), from the 8th label on: the
average's would hide for a thousand labels how good the best expert is, where others are far off. With ψ and h of
tables/number.py, all in spreads of the labels so far:

    s² = dᵀSd    φ ← φ + S d ψτu/(1 + h s²)    S ← S − S d dᵀS h/(1 + h s²)

*Combiners*: the average, a slow stack, a fast one. *Choice*: the bets of mixture.py, for P_c(y) = exp(−ρ(e_c)/2L) for
Huber's loss, exp(−ρ(e_c)/L) for the check loss, ρ cut. The served number is Σ ω_c ŷ_c. So any unit of the label gives
the same answers. Owns φ, S, L and ω. Does not know who the experts are, or when a label is learned.
"""

from collections.abc import Mapping

import numpy as np
from torch import Tensor

from learners.live.compiled import Doubles, compiled
from learners.live.mixtures.mixture import SPEED, STACKS, SWITCH, choose, times
from learners.live.tables.arrays import Arrays, restore, state_of, usable
from learners.live.tables.number import FAR, FIRST, LARGEST, LEAST, MEMORY, WILD, loss, pull

SCALE = (1e-1, 1.0)  # slow, fast: the variance of φ at the start
MOST_LOSS = 9.2  # nats that one sample costs a combiner at most
TRUSTED, REACH, SPREAD = 100, 10.0, 10_000.0  # of labels: from how many on a wild one is cut, where; how many count


class Number:
    """One answer of E experts, for Huber's loss with `delta`, in spreads, or the check loss with `level`.

    >>> even = Number(1.0, 0.0, 2)
    >>> even.answer(np.array([[10.0, 20.0]]))
    array([[15.]])
    >>> said = np.random.default_rng(0).normal(15, 3, (500, 2))
    >>> even.learn(said, said[:, 1], np.ones(500))
    >>> even.answer(np.array([[10.0, 20.0]])).round()
    array([[20.]])
    """

    def __init__(self, delta: float, level: float, experts: int, eta: float = 1.0, switch: float = SWITCH) -> None:
        self._shape, self._pace = (min(delta, 1e50), level), (eta, switch)
        self.theta = np.zeros((STACKS, experts))
        self.variance = np.stack([np.eye(experts) * scale for scale in SCALE])
        self.weights = np.full(1 + STACKS, 1 / (1 + STACKS))
        self.labels = np.zeros(4)  # how many, their mean and variance; L

    def answer(self, said: Doubles) -> Doubles:
        """Return numbers (N, 1) of what the experts said (N, E); 0 where none said anything."""
        found: Doubles = _answers(_known(said), self.theta) @ self.weights
        return found[:, None]

    def learn(self, said: Doubles, labels: Doubles, weights: Doubles) -> None:
        """Follow labels (N,) in their order, but none that is not finite, or whose weight is not above 0."""
        own = self.theta, self.variance, self.weights, self.labels
        y = np.clip(labels, -LARGEST, LARGEST)
        _follow(_known(said), y, usable(weights, labels), *self._shape, *self._pace, *own)

    def state(self) -> dict[str, Tensor]:
        """Return copies of all that changes."""
        return state_of(self._arrays())

    def load(self, state: Mapping[str, Tensor]) -> None:
        """Go on from a state."""
        restore(self._arrays(), state)

    def _arrays(self) -> Arrays:
        return {"theta": self.theta, "variance": self.variance, "weights": self.weights, "labels": self.labels}


def _known(said: Doubles) -> Doubles:
    """Return the experts' words; the average of the others for one that has none."""
    known = np.isfinite(said)
    words = np.clip(np.where(known, said, 0.0), -LARGEST, LARGEST)
    if known.all():
        return np.ascontiguousarray(words)
    return np.where(known, words, (words.sum(1) / np.maximum(known.sum(1), 1))[:, None])


@compiled
def _answers(said: Doubles, theta: Doubles) -> Doubles:
    """Return each combiner's number, (N, C)."""
    experts = said.shape[1]
    found = np.empty((len(said), 1 + len(theta)))
    for n in range(len(said)):
        average = 0.0
        for i in range(experts):
            average += said[n, i] / experts
        found[n, 0] = average
        for c in range(len(theta)):
            z = average
            for i in range(experts):
                z += theta[c, i] * (said[n, i] - average)
            found[n, 1 + c] = z
    return found


@compiled
def _follow(
    said: Doubles, labels: Doubles, weights: Doubles, delta: float, level: float, eta: float, switch: float,
    theta: Doubles, variance: Doubles, omega: Doubles, known: Doubles,
) -> None:  # fmt: skip
    """Let φ, S, ω and what is known of labels, in place, follow N samples."""
    for n in range(len(said)):
        y, u = labels[n], weights[n]
        if not u > 0:
            continue
        off, reach = y - known[1], REACH * np.sqrt(known[2])
        if known[0] >= TRUSTED:
            off = min(max(off, -reach), reach)
        known[0] = min(known[0] + 1, SPREAD)
        known[1] += off / known[0]
        known[2] = (1 - 1 / known[0]) * (known[2] + off * off / known[0])
        if known[0] < FIRST:
            continue
        spread = max(np.sqrt(known[2]), 1 / LARGEST)
        answers = _answers(said[n : n + 1], theta)[0]
        off_by = np.minimum(np.maximum((y - answers) / spread, -FAR), FAR)
        d = np.minimum(np.maximum((said[n] - answers[0]) / spread, -FAR), FAR)
        served = 0.0
        for c in range(len(omega)):
            served += omega[c] * answers[c]
        lost = loss(min(max((y - served) / spread, -FAR), FAR), delta, level)
        if known[0] > TRUSTED:
            lost = min(lost, WILD * known[3])
        known[3] += (lost - known[3]) / min(known[0], MEMORY)
        noise = max(known[3], LEAST)
        for c in range(len(theta)):
            slope, h = pull(off_by[1 + c], noise, delta, level)
            gain, tau = times(variance[c], d), SPEED[c] * u
            h *= tau
            whole = 1 + h * max((d * gain).sum(), 0.0)
            theta[c] += gain * (slope * tau / whole)
            for i in range(len(d)):
                variance[c, i] -= gain[i] * gain * (h / whole)
        bets = np.empty(len(omega))
        for c in range(len(omega)):
            nats = loss(off_by[c], delta, level) / (noise if level > 0 else 2 * noise)
            bets[c] = -eta * u * min(nats, MOST_LOSS)
        choose(omega, bets, switch, np.full(len(omega), 1 / len(omega)))
