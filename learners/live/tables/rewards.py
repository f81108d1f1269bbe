"""A table of what each of K actions brings: gaussian.py's `w4`, K weights a slot, of which a row's action learns.

The label is the reward as a share of its range. Its weight is √w, w = min(1/p, clip) of the propensity p: with w the
rows would count as if all actions had been drawn alike, and as fewer; with 1 the usual action's rows alone would say
what it brings. Owns this table. Does not know what a feature is, or which action is taken.
"""

import numpy as np

from learners.live.compiled import Doubles
from learners.live.features.hashing import Hashed
from learners.live.tables.arrays import Arrays
from learners.live.tables.gaussian import FORGETTING, SOFTENS, learn_rows
from learners.live.tables.softmax import Columns
from learners.tasks.bandit import Bandit


class Brought:
    """What targets of a bandit tell: reward (N,), as a share of its range, action, w, and which rows tell something.

    >>> told = Brought(Bandit(2, rewards=(0, 10)), np.array([[5.0, 1.0, 0.25], [5.0, 7.0, 0.25]]))
    >>> told.reward.tolist(), told.action.tolist(), told.weight.tolist(), told.known.tolist()
    ([0.5, 0.0], [1, 0], [4.0, 1.0], [True, False])
    """

    def __init__(self, task: Bandit, targets: Doubles) -> None:
        (least, most), (reward, action, propensity) = task.rewards, targets[:, :3].T
        self.known = np.isfinite(targets[:, :3]).all(1) & (propensity > 0) & (action >= 0) & (action < task.count)
        self.reward = np.where(self.known, (reward - least) / (most - least), 0.0).clip(0, 1)
        self.action = np.where(self.known, action, 0).astype(np.int64)
        self.weight = np.minimum(1 / np.where(self.known, propensity, 1.0), task.clip)


class Rewards(Columns):
    """2^`bits` slots of K Gaussian weights, which forget: `w4`. Answers are the log odds of the reward's share."""

    def __init__(self, bits: int, task: Bandit) -> None:
        super().__init__(np.zeros((1 << bits, task.count), np.float32), np.zeros((task.count, 2)))  # means, precisions
        self._task, self._precision = task, np.zeros((1 << bits, task.count), np.float32)

    def learn(self, hashed: Hashed, labels: Doubles, weights: Doubles) -> None:
        """Learn rows and their targets (N, 3) or more in their order; a weight of 0, or no such action, skips a row."""
        told, forgets = Brought(self._task, labels), np.full(len(labels), FORGETTING)
        use = np.where(told.known, weights * np.sqrt(told.weight), 0.0)
        own = self.means, self._precision, told.action, self._constant, told.action
        learn_rows(hashed, told.reward, use, forgets, forgets, *own, 0, 0.0, SOFTENS)

    def arrays(self) -> Arrays:
        """Return all that was learned."""
        return {"mean": self.means, "precision": self._precision, "constant": self._constant}
