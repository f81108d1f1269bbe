"""The hazard chain: an expert whose outcomes are never late, for it asks who still waits, and what came next.

Ages e_1 < … < e_J part the wait. A prediction that waited at e_{j−1} passes mark j at e_j; then each label's hazard of
j learns whether that label came in between. With the segment g(j) of ages, and two constants and tables of Gaussian
weights (`tables/gaussian.py`) for each label c:

    h_{j,c} = σ(β_{j,c} + w_{g(j),c} · x), over their sum if that is > 1        S_j = Π_{i≤j} (1 − h_{i,0} − h_{i,1})
    I_c = Σ_j S_{j−1} h_{j,c}        p = (I_1 + ε)/(I_0 + I_1 + 2ε)

β comes from N(−3, 4): most marks pass without an outcome. That of a mark that none has passed yet is the last known
one's: whoever waits in a young feed is told neither label half and half. β forgets faster than slots, for base rates
move as a whole; and by time, for where a hundred outcomes come within hours they tell of a few kinds of hours alone.
So a prediction with an outcome in bucket j teaches exactly j
marks. A slot forgets when an outcome touches it, not when a row waits: of these there are ten times as many, and what
is learned of rare hazards would be forgotten before it is known. Owns the tables and constants. Does not know ages, or
when a mark is passed: it is told, in the order of events.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from learners.live.compiled import Bools, Doubles, Ints, compiled
from learners.live.features.features import Features
from learners.live.tables.arrays import Arrays, Touched, joined, restore, state_of, usable
from learners.live.tables.gaussian import FORGETTING, learn_rows

FADING, FADES_MS = 1e-2, 4 * 86_400_000  # of β at each outcome: it remembers four days, but at least a hundred
SEGMENTS = 6  # 3 are too stiff (hotel bookings .513 for .492), 1 far too (.572)
TIMES = {"last": torch.int64, "fades": torch.float64}  # what β's forgetting keeps
START = -3.0  # β before anything is known
EPS = 1e-6
READY = 100  # outcomes, before it is asked


@compiled
def resolve(scores: Doubles, beta: Doubles, segments: Ints) -> Doubles:
    """Return p's logit of each row (N,); `scores` (N, 2 · segments), `beta` (2 J, 2), whose precision 0 is none."""
    found = np.empty(len(scores))
    for row in range(len(found)):
        waits, came0, came1, beta0, beta1 = 1.0, 0.0, 0.0, 0.0, 0.0
        for j in range(len(segments)):
            if beta[2 * j, 1] > 0:
                beta0, beta1 = beta[2 * j, 0], beta[2 * j + 1, 0]
            h0 = 1 / (1 + np.exp(-(START + beta0 + scores[row, 2 * segments[j]])))
            h1 = 1 / (1 + np.exp(-(START + beta1 + scores[row, 2 * segments[j] + 1])))
            over = max(h0 + h1, 1.0)
            came0 += waits * h0 / over
            came1 += waits * h1 / over
            waits *= 1 - (h0 + h1) / over
        found[row] = np.log((came1 + EPS) / (came0 + EPS))
    return found


@compiled
def fading(marks: Ints, ended: Bools, t_ms: Ints, last_ms: Ints, due: Doubles) -> Doubles:
    """Return how much β of each row's mark forgets.

    In place, `last_ms` follows each mark's newest outcome, and `due` what time has made it forget, less what it forgot.
    """
    found = np.zeros(len(marks))
    for n in range(len(marks)):
        if ended[n]:
            mark, passed_ms = marks[n], max(0, t_ms[n] - last_ms[marks[n]])
            last_ms[mark] += passed_ms
            due[mark] = min(1.0, due[mark] + passed_ms / FADES_MS)
            found[n] = min(FADING, due[mark])
            due[mark] -= found[n]
    return found


class Chain:
    """The chain of two labels and `marks` ages; μ and σ of numbers move with a prediction's first mark."""

    names = ("chain",)

    def __init__(self, features: Features, bits: int, marks: int) -> None:
        self._features, self._marks = features, marks
        self._segments = np.arange(marks) * min(SEGMENTS, marks) // marks
        heads = 2 * (int(self._segments[-1]) + 1)
        self._weights = np.zeros((1 << bits, heads, 2), np.float32)
        self.mean, self.precision = self._weights[..., 0], self._weights[..., 1]
        self._touched = Touched(1 << bits)
        self.came = np.zeros(1)  # how many outcomes it has learned
        self._last_ms = np.zeros(marks, np.int64)  # when the newest row was asked whose outcome a mark has learned
        self._fades = np.zeros(marks)
        self.beta = np.zeros((2 * marks, 2))  # mean less START and precision, label 0 and label 1 of each mark

    @property
    def ready(self) -> bool:
        """Whether it has learned enough to be asked."""
        return bool(self.came[0] >= READY)

    def answer(self, rows: Sequence[Any]) -> Doubles:
        """Return the logit of p (N, 1)."""
        return resolve(self._features.sums(rows, self.mean), self.beta, self._segments)[:, None]

    def waited(self, rows: Sequence[Any], marks: Ints, outcomes: Doubles, weights: Doubles, t_ms: Ints) -> None:
        """Learn rows, asked at `t_ms` (N,), that pass marks (N,), from 0, in the order of events.

        `outcomes` (N,): the label that came since the mark before, NaN where none did. After its outcome a row
        passes no mark.
        """
        segments, use = self._segments[marks], usable(weights, weights)
        self.came += np.count_nonzero(np.isfinite(outcomes) & (use > 0))
        fades = fading(marks, np.isfinite(outcomes) & (use > 0), t_ms, self._last_ms, self._fades)
        for part, hashed in self._features.hashed(rows, (marks == 0) & (use > 0)):
            self._touched.add(hashed.used)
            for c in (0, 1):
                came, ended = (outcomes[part] == c).astype(np.float64), np.isfinite(outcomes[part])
                own = self.mean, self.precision, 2 * segments[part] + c, self.beta, 2 * marks[part] + c
                learn_rows(hashed, came, use[part], ended * FORGETTING, fades[part], *own, 2, START, 0.0)

    def state(self) -> dict[str, Tensor]:
        """Return all that was learned."""
        return state_of(self._arrays())

    def load(self, state: Mapping[str, Tensor]) -> None:
        """Go on from `state`; one of before β forgot by time has no times, and begins to forget at once."""
        times = {f"chain.{name}": torch.zeros(self._marks, dtype=of) for name, of in TIMES.items()}
        restore(self._arrays(), times | dict(state))

    def changes(self, *, whole: bool) -> dict[str, Tensor]:
        """Return the means of slots that changed, those of the constants, and what is known of numbers."""
        slots = self._touched.take(self.mean, whole=whole)
        own = {"whole": torch.tensor(whole), "slots": slots, "means": torch.from_numpy(self.mean[slots.numpy()])}
        own |= {"beta": torch.from_numpy(self.beta.copy()), "came": torch.from_numpy(self.came.copy())}
        return own | self._features.changes()

    def follow(self, changes: Mapping[str, Tensor]) -> None:
        """Answer from now on as the one that changed."""
        if changes["whole"]:
            self.mean[:] = 0
        self.mean[changes["slots"].numpy()] = changes["means"].numpy()
        self.beta[:] = changes["beta"].numpy()
        self.came[:] = changes["came"].numpy()
        self._features.follow(changes)

    def _arrays(self) -> Arrays:
        own: Arrays = {
            "mean": self.mean,
            "precision": self.precision,
            "beta": self.beta,
            "came": self.came,
            "last": self._last_ms,
            "fades": self._fades,
        }
        return joined({"features": self._features.arrays(), "chain": own})
