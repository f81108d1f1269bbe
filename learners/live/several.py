"""What several experts say of K classes, any of which may apply, made K answers: mixture.py's, one for each class.

Owns no numbers of its own. Does not know who the experts are, or when a label is learned.
"""

from collections.abc import Mapping

import numpy as np
from torch import Tensor

from learners.live.compiled import Doubles
from learners.live.mixture import SWITCH, Mixture


class Several:
    """K answers of E experts, each a logit.

    >>> even = Several(2, 2)
    >>> said = np.array([[0.0, 3.0, 2.0, 3.0]])  # of one sample: two experts, two classes
    >>> even.answer(said)
    array([[1., 3.]])
    >>> even.learn(np.repeat(said, 100, 0), np.repeat([[0.0, 1.0]], 100, 0), np.ones(100))
    >>> (even.answer(said) > 0).tolist()
    [[False, True]]
    """

    def __init__(self, classes: int, experts: int, eta: float = 1.0, switch: float = SWITCH) -> None:
        self._mixtures = [Mixture([1.0] * experts, eta=eta, switch=switch) for _ in range(classes)]

    def answer(self, said: Doubles) -> Doubles:
        """Return logits (N, K) of what the experts said (N, E · K), each logits of K classes."""
        p = np.stack([mixture.answer(words) for mixture, words in self._each(said)], axis=1)
        found: Doubles = np.log(p / (1 - p))
        return found

    def learn(self, said: Doubles, labels: Doubles, weights: Doubles) -> None:
        """Follow labels (N, K) of 0 and 1 in their order, none that is not finite, or whose weight is not above 0."""
        for k, (mixture, words) in enumerate(self._each(said)):
            mixture.learn(words, labels[:, k].copy(), weights)

    def state(self) -> dict[str, Tensor]:
        """Return copies of all that changes."""
        states = (mixture.state() for mixture in self._mixtures)
        return {f"{k}.{name}": value for k, state in enumerate(states) for name, value in state.items()}

    def load(self, state: Mapping[str, Tensor]) -> None:
        """Go on from a state."""
        for k, mixture in enumerate(self._mixtures):
            own = f"{k}."
            mixture.load({name.removeprefix(own): value for name, value in state.items() if name.startswith(own)})

    def _each(self, said: Doubles) -> list[tuple[Mixture, Doubles]]:
        """Return each class's mixture, and what the experts said of the class, (N, E)."""
        return [(mixture, said[:, k :: len(self._mixtures)]) for k, mixture in enumerate(self._mixtures)]
