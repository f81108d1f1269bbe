"""What the version and the experts say of K actions, made one policy, by what each would have brought.

The version says logits of a policy; the experts log odds z_k of what each action brings, of which SHARP · z_k are such
logits. *Combiners*: the version's policy; that of the experts' average z̄; and, where there are several, each one's.
*Choice*: the bets of mixture.py on what a combiner's policy π_c would have brought, doubly robust (Dudík, Langford & Li
2011) with q = σ(z̄) as recorded before the reward r of the action a, and in units of r's noise, L ← L + ((r − q_a)² −
L)/min(n, 1,000):

    gain_c = Σ π_c q + w (r − q_a) π_c(a)        ω_c ← ω_c exp(η gain_c/√L), the gain cut to ±10 √L

This is EXP4 (Auer et al. 2002) over few experts, with a calmer estimate. The served policy is π = Σ ω_c π_c; the task
explores beside it. An expert that has no answer is spoken for by the others. Owns ω and L. Does not know who the
experts are, or when a label is learned.
"""

from collections.abc import Mapping

import numpy as np
from torch import Tensor

from learners.live.compiled import Doubles, Ints, compiled
from learners.live.mixtures.mixture import LOGIT, SWITCH, choose
from learners.live.mixtures.softmax import softmax
from learners.live.tables.arrays import Arrays, restore, state_of, usable
from learners.live.tables.rewards import Brought
from learners.tasks.bandit import Bandit

SHARP = 8.0  # from 4 on a policy brings the same; at 2 it explores too much
ETA, MOST = 0.1, 10.0  # of a bet, and of a gain in noises
MEMORY, LEAST = 1_000.0, 1e-6  # rewards that L remembers; L of rewards that never vary


class Policies:
    """One policy of E experts on K actions, the first of which is the version.

    >>> two = Policies(Bandit(2), 2)
    >>> said = np.array([[2.0, 0.0, -1.0, 0.5]])  # the version is for the first action, the expert for the second
    >>> np.exp(two.answer(said)).round(2)
    array([[0.44, 0.56]])
    >>> two.learn(np.repeat(said, 100, 0), np.array([[1.0, 0.0, 0.5]] * 100), np.ones(100))
    >>> np.exp(two.answer(said)).round(1)
    array([[0.9, 0.1]])
    """

    def __init__(self, task: Bandit, experts: int, eta: float = 1.0, switch: float = SWITCH) -> None:
        self._task, self._shape, self._pace = task, (experts, task.outputs), (eta * ETA, switch)
        others = experts - 1
        alone = np.eye(experts)[1:] * SHARP if others > 1 else np.empty((0, experts))
        average = np.array([[0.0] + [SHARP / others] * others])
        self._combined = np.concatenate([np.eye(experts)[:1], average, alone])
        self.weights = np.full(len(self._combined), 1 / len(self._combined))
        self.noise = np.array([0.0, 0.25])  # how many rewards, and L

    def answer(self, said: Doubles) -> Doubles:
        """Return log π (N, K) of what was said (N, E · K); of a task with estimates these as well, (N, 2 K)."""
        words = self._words(said)
        log_p = np.log(_mixed(words, self._combined, self.weights))
        if not self._task.doubly_robust:
            return log_p
        return np.concatenate([log_p, _chances(words)], axis=1)

    def learn(self, said: Doubles, labels: Doubles, weights: Doubles) -> None:
        """Follow targets (N, 3) or more in their order, but none that is not finite, or whose weight is not above 0."""
        told = Brought(self._task, labels)
        use = np.where(told.known, usable(weights, labels), 0.0)
        words, own = self._words(said), (self._combined, *self._pace, self.weights, self.noise)
        _follow(words, _chances(words), told.reward, told.action, told.weight, use, *own)

    def state(self) -> dict[str, Tensor]:
        """Return copies of all that changes."""
        return state_of(self._arrays())

    def load(self, state: Mapping[str, Tensor]) -> None:
        """Go on from a state."""
        restore(self._arrays(), state)

    def _arrays(self) -> Arrays:
        return {"weights": self.weights, "noise": self.noise}

    def _words(self, said: Doubles) -> Doubles:
        """Return logits (N, E, K), none missing: SHARP z̄ for a version that says nothing, z̄ for an expert."""
        words = np.ascontiguousarray(said).reshape(len(said), *self._shape)[..., : self._task.count]
        known = np.asarray(np.isfinite(words).all(2))[..., None]
        words = np.where(known, words, 0.0)
        words[:, 1:] = words[:, 1:].clip(-LOGIT, LOGIT)
        if known.all():
            return words
        average = (words[:, 1:] * known[:, 1:]).sum(1) / np.maximum(known[:, 1:].sum(1), 1)
        spoken = np.repeat(average[:, None], words.shape[1], 1)
        spoken[:, 0] *= SHARP
        return np.where(known, words, spoken)


def _chances(words: Doubles) -> Doubles:
    """Return q (N, K), what the experts together expect of each action."""
    found: Doubles = 1 / (1 + np.exp(-words[:, 1:].mean(1)))
    return found


@compiled
def _mixed(words: Doubles, combined: Doubles, omega: Doubles) -> Doubles:
    """Return π (N, K)."""
    p, one = np.zeros((len(words), words.shape[2])), np.empty(words.shape[2])
    for n in range(len(words)):
        for c in range(len(combined)):
            softmax(combined[c], words[n], one)
            p[n] += omega[c] * one
    return p


@compiled
def _follow(
    words: Doubles, expected: Doubles, rewards: Doubles, actions: Ints, inverse: Doubles, weights: Doubles,
    combined: Doubles, eta: float, switch: float, omega: Doubles, noise: Doubles,
) -> None:  # fmt: skip
    """Let ω and L, in place, follow N rewards."""
    p, first = np.empty(words.shape[2]), np.full(len(omega), 1 / len(omega))
    for n in range(len(words)):
        if not weights[n] > 0:
            continue
        surprise = rewards[n] - expected[n, actions[n]]
        noise[0] += 1
        noise[1] += (surprise * surprise - noise[1]) / min(noise[0], MEMORY)
        scale, bets = np.sqrt(max(noise[1], LEAST)), np.empty(len(omega))
        for c in range(len(omega)):
            softmax(combined[c], words[n], p)
            gain = inverse[n] * surprise * p[actions[n]]
            for k in range(len(p)):
                gain += p[k] * expected[n, k]
            bets[c] = eta * weights[n] * min(max(gain / scale, -MOST), MOST)
        choose(omega, bets, switch, first)
