"""What several experts say of K items, made one score of each: mixture.py's stacks, combiners and bets, over pairs.

Of a pair of items a < b of one request with other relevances y ≥ 0, the experts' logits are the differences of their
scores, and the label is whether a is before b; n pairs count as √n. What stands first may be
favoured: the constant of a stack learns that, and no score has it. The served score is that of Σ ω_c θ_c. Owns no
numbers of its own. Does not know who the experts are, or when a label is learned.
"""

from collections.abc import Mapping

import numpy as np
from torch import Tensor

from learners.live.compiled import Doubles
from learners.live.mixtures.mixture import AVERAGE, SWITCH, Mixture
from learners.live.tables.arrays import usable


class Orders:
    """K scores of E experts, each K scores.

    >>> even = Orders(2, 2)
    >>> said = np.array([[0.0, 2.0, 3.0, 0.0]])  # of one request: two experts, two items
    >>> even.answer(said)
    array([[1.5, 1. ]])
    >>> even.learn(np.repeat(said, 100, 0), np.array([[0.0, 1.0]] * 100), np.ones(100))
    >>> bool(np.diff(even.answer(said)[0])[0] > 1)
    True
    """

    def __init__(self, items: int, experts: int, eta: float = 1.0, switch: float = SWITCH) -> None:
        self._shape = experts, items
        self._mixture = Mixture([1.0] * experts, eta=eta, switch=switch)

    def answer(self, said: Doubles) -> Doubles:
        """Return scores (N, K) of what the experts said (N, E · K)."""
        omega, theta = self._mixture.weights, self._mixture.theta[:, :-1]
        shares = omega[1:] @ theta + omega[AVERAGE] / len(theta[0])
        found = np.zeros((len(said), self._shape[1]))
        for share, scores in zip(shares.tolist(), self._words(said).swapaxes(0, 1), strict=True):
            found += share * scores
        return found

    def learn(self, said: Doubles, labels: Doubles, weights: Doubles) -> None:
        """Follow relevances (N, K) in their order, but none that is not finite, or whose weight is not above 0."""
        for words, label, weight in zip(self._words(said), labels, usable(weights, labels), strict=True):
            a, b = np.triu_indices(len(label), 1)
            some = (label[a] != label[b]) & (label[a] >= 0) & (label[b] >= 0)
            a, b = a[some], b[some]
            if len(a) and weight > 0:
                before = (label[a] > label[b]).astype(np.float64)
                self._mixture.learn((words[:, a] - words[:, b]).T, before, np.full(len(a), weight / np.sqrt(len(a))))

    def state(self) -> dict[str, Tensor]:
        """Return copies of all that changes."""
        return self._mixture.state()

    def load(self, state: Mapping[str, Tensor]) -> None:
        """Go on from a state."""
        self._mixture.load(state)

    def _words(self, said: Doubles) -> Doubles:
        """Return scores (N, E, K); the average of the others' for an expert that has none."""
        words = said.reshape(len(said), *self._shape)
        known = np.asarray(np.isfinite(words).all(2))[..., None]
        spoken = np.where(known, words, 0.0)
        average = spoken.sum(1) / np.maximum(known.sum(1), 1)
        return np.where(known, spoken, average[:, None])
