"""What several experts say of K classes, any of which may apply, made K answers: mixture.py's, one for each class.

Owns no numbers of its own. Does not know who the experts are, or when a label is learned.
"""

from collections.abc import Mapping

import numpy as np
from torch import Tensor

from learners.live.compiled import Doubles, compiled
from learners.live.mixtures.mixture import SWITCH, Mixture, follow, mixed
from learners.live.tables.arrays import Arrays, restore, state_of, usable
from learners.live.tables.several import by_label


class Several:
    """K answers of E experts, each a logit.

    >>> even = Several(2, 2)
    >>> said = np.array([[0.0, 3.0, 2.0, 3.0]])  # of one sample: two experts, two classes
    >>> even.answer(said).round()
    array([[1., 3.]])
    >>> even.learn(np.repeat(said, 100, 0), np.repeat([[0.0, 1.0]], 100, 0), np.ones(100))
    >>> (even.answer(said) > 0).tolist()
    [[False, True]]
    """

    def __init__(self, classes: int, experts: int, eta: float = 1.0, switch: float = SWITCH) -> None:
        self._classes, self._pace, one = classes, (eta, switch), Mixture([1.0] * experts, eta=eta, switch=switch)
        self._shares, self._first = np.full(experts, 1 / experts), one.weights.copy()
        self.theta, self.variance, self.weights = (
            np.repeat(of[None], classes, 0) for of in (one.theta, one.variance, one.weights)
        )

    def answer(self, said: Doubles) -> Doubles:
        """Return logits (N, K) of what the experts said (N, E · K), each logits of K classes."""
        p = _mixed(self._each(said), self._shares, self.theta, self.variance, self.weights)
        found: Doubles = np.log(p / (1 - p))
        return found

    def learn(self, said: Doubles, labels: Doubles, weights: Doubles) -> None:
        """Follow labels (N, K) of 0 and 1 in their order, none that is not finite, or whose weight is not above 0."""
        own = self._first, self.theta, self.variance, self.weights
        _follow(self._each(said), labels, usable(weights, labels), self._shares, *self._pace, *own)

    def state(self) -> dict[str, Tensor]:
        """Return copies of all that changes."""
        return state_of(self._arrays())

    def load(self, state: Mapping[str, Tensor]) -> None:
        """Go on from a state."""
        restore(self._arrays(), state)

    def _arrays(self) -> Arrays:
        return by_label({"theta": self.theta, "variance": self.variance, "weights": self.weights})

    def _each(self, said: Doubles) -> Doubles:
        """Return what the experts said of each class, (K, N, E)."""
        each = said.reshape(len(said), said.shape[1] // self._classes, self._classes)
        return np.ascontiguousarray(each.transpose(2, 0, 1))


@compiled
def _mixed(said: Doubles, shares: Doubles, theta: Doubles, variance: Doubles, omega: Doubles) -> Doubles:
    """Return p (N, K)."""
    p = np.empty((said.shape[1], len(said)))
    for k in range(len(said)):
        p[:, k] = mixed(said[k], shares, -1, theta[k], variance[k], omega[k])
    return p


@compiled
def _follow(
    said: Doubles, labels: Doubles, weights: Doubles, shares: Doubles, eta: float, switch: float, first: Doubles,
    theta: Doubles, variance: Doubles, omega: Doubles,
) -> None:  # fmt: skip
    """Let each class's θ, S and ω, in place, follow N samples."""
    for k in range(len(said)):
        own = theta[k], variance[k], omega[k]
        follow(said[k], labels[:, k].copy(), weights, weights, shares, -1, eta, switch, first, *own)
