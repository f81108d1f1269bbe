"""When news of predictions comes, by their age, and k80: when 80 % of it has come.

Ages e_0 < e_1 < … Predictions are counted in cohorts, those asked between two times. When a whole cohort of n has
reached the age e_j, and d_j of its outcomes came by then, it counts; so early news is never counted without the late
news of the same predictions, and neither volume nor base rate nor a label enters:

    F_j = Σ d_j / Σ n     over the cohorts that have reached e_j, the newer the more

k80 is the least e_j with F_j ≥ 0.8; once the join's window is reached, at e_J, with F_j ≥ 0.8 F_J: of some predictions
no outcome ever comes. It stays while it has 75 % and no lesser age has 85 %.

Owns the counts. Does not know what anybody learns from news.
"""

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor

DAY_MS = 86_400_000
# 84 s to 985 days
AGES_MS: tuple[int, ...] = (*(DAY_MS // 4**j for j in range(5, 0, -1)), *(int(DAY_MS * 1.5**j) for j in range(18)))
SHARE, KEEPS, LEAVES = 0.8, 0.75, 0.85
ENOUGH = 50  # counted at an age before anything is said of it
MEMORY = 10_000  # counted at an age: what was counted so long ago weighs 1/e
FINE, MOST = 8, 512  # cohorts in the time of k80, if that does not make more than the most in a window, or so far


class News:
    """The counts at each age. `rung`: the age that is k80 if `known`, else the last age reached; −1: none.

    >>> news = News((1_000, 60_000, 3_600_000))
    >>> for n in range(100):
    ...     news.outcome(n * 1_000, 30_000)
    >>> news.asked(100_000, 100, window_ms=3_600_000)  # up to this time 100 predictions were asked
    >>> news.asked(200_000, 100, window_ms=3_600_000)
    >>> news.known, news.k80_ms
    (True, 60000)
    """

    def __init__(self, ages_ms: Sequence[int] = AGES_MS) -> None:
        if not all(a < b for a, b in pairwise((0, *ages_ms))):
            raise ValueError("News: ages are positive and rise")
        self.ages_ms = tuple(ages_ms)
        self._came, self._passed = np.zeros(len(ages_ms)), np.zeros(len(ages_ms))
        self.rung, self.known = -1, False
        self._asked = self._first_ms = self._began_ms = self.window_ms = 0
        self._until_ms: list[int] = []  # of each cohort: the time of its last prediction
        self._sizes: list[int] = []
        self._reached: list[int] = []  # how many ages it has counted at
        self._ends: list[list[int]] = []  # its outcomes by age
        self._newest: list[tuple[int, int]] = []  # time and age of outcomes whose predictions are in no cohort yet

    @property
    def k80_ms(self) -> int | None:
        """The age by which 80 % of the news has come; None until it is known."""
        return self.ages_ms[self.rung] if self.known else None

    @property
    def hold_ms(self) -> int:
        """How old a prediction is when its outcome is evidence: k80, or while that is unknown the next age to reach."""
        at = self.rung if self.known else self.rung + 1
        return self.ages_ms[min(at, len(self.ages_ms) - 1)]

    @property
    def late(self) -> bool:
        """Whether k80 is more than a day, known or not."""
        return self.rung >= 0 and (self.ages_ms[self.rung] > DAY_MS or (not self.known and self.hold_ms > DAY_MS))

    def age_of(self, delay_ms: int) -> int:
        """Return at which age an outcome with this delay has come; the number of ages if it is later than all."""
        return bisect_left(self.ages_ms, delay_ms)

    def share(self, t_ms: int, now_ms: int) -> float:
        """Return which part of the time from the first news on, a history's too, had passed at `t_ms`; all: 1.

        What an expert said then tells of it now as much as it had learned by then of what it has learned now. In the
        state of an earlier release no time is the first: 1, nearly.
        """
        whole_ms = now_ms - self._began_ms
        return min(max((t_ms - self._began_ms) / whole_ms, 0.0), 1.0) if whole_ms > 0 else 1.0

    def outcome(self, t_ms: int, delay_ms: int) -> None:
        """Count the outcome of a prediction of `t_ms`."""
        age = self.age_of(delay_ms)
        if age < len(self.ages_ms):
            self._count(t_ms, age)

    def _count(self, t_ms: int, age: int) -> None:
        cohort = bisect_left(self._until_ms, t_ms)
        if cohort < len(self._ends):
            self._ends[cohort][age] += 1
        else:
            self._newest.append((t_ms, age))

    def asked(self, now_ms: int, predictions: int, window_ms: int) -> None:
        """Take how many predictions were asked, ever, up to now; all outcomes up to now were counted before."""
        self._first_ms, self.window_ms = self._first_ms or now_ms, window_ms
        self._began_ms = min(self._began_ms or now_ms, now_ms)
        within_ms = min(now_ms - self._first_ms, window_ms)
        if self._until_ms and now_ms - self._until_ms[-1] < max(self.hold_ms // FINE, within_ms // MOST):
            return
        self._begin(now_ms, max(0, predictions - self._asked))
        self._asked = predictions
        before = self._passed.sum()
        for cohort, until_ms in enumerate(self._until_ms):
            self._reach(cohort, now_ms - until_ms)
        if self._passed.sum() != before:
            self.rung, self.known = self._k80(min(self.age_of(window_ms) + 1, len(self.ages_ms)))
        done = sum(1 for reached in self._reached if reached == len(self.ages_ms)) if len(self._reached) > 1 else 0
        for kept in (self._until_ms, self._sizes, self._reached, self._ends):
            del kept[: min(done, len(kept) - 1)]  # the last says where the next begins

    def begin(self) -> None:
        """Begin another feed, whose predictions are counted anew; what is known of the ages stays."""
        self._asked = self._first_ms = 0
        for kept in (self._until_ms, self._sizes, self._reached, self._ends, self._newest):
            kept.clear()

    def _begin(self, until_ms: int, size: int) -> None:
        """End a cohort."""
        self._until_ms.append(until_ms)
        self._sizes.append(size)
        self._reached.append(0)
        self._ends.append([0] * len(self.ages_ms))
        newest, self._newest = self._newest, []
        for t_ms, age in newest:
            self._count(t_ms, age)

    def _reach(self, cohort: int, age_ms: int) -> None:
        """Let a cohort, all of which is so old, count at the ages that it has reached."""
        size, ends = self._sizes[cohort], self._ends[cohort]
        keeps = (1 - 1 / MEMORY) ** size
        for age in range(self._reached[cohort], len(self.ages_ms)):
            if self.ages_ms[age] > age_ms:
                return
            self._came[age] = self._came[age] * keeps + sum(ends[: age + 1])
            self._passed[age] = self._passed[age] * keeps + size
            self._reached[cohort] = age + 1

    def _k80(self, ages: int) -> tuple[int, bool]:
        """Return the new rung, of so many ages, and whether it is k80."""
        enough = self._passed[:ages] >= ENOUGH
        reached = len(enough) if enough.all() else int(np.argmin(enough))
        share = np.minimum(self._came[:reached] / np.maximum(self._passed[:reached], 1), 1)
        if reached == len(enough) and share[-1] > 0:
            share = share / share[-1]
        for age in range(reached):
            needs = SHARE if not self.known else LEAVES if age < self.rung else KEEPS if age == self.rung else SHARE
            if share[age] >= needs:
                return age, True
        return reached - 1, False

    def state(self) -> dict[str, Tensor]:
        """Return copies of all that changes."""
        ints = {
            "at": [self.rung, self.known, self._asked, self._first_ms, self.window_ms, self._began_ms],
            "cohorts": [self._until_ms, self._sizes, self._reached],
            "ends": self._ends,
            "newest": self._newest,
        }
        shares = {"came": torch.from_numpy(self._came.copy()), "passed": torch.from_numpy(self._passed.copy())}
        return shares | {name: torch.tensor(part, dtype=torch.int64) for name, part in ints.items()}

    def load(self, state: Mapping[str, Tensor]) -> None:
        """Go on from a state."""
        self._came, self._passed = state["came"].numpy().copy(), state["passed"].numpy().copy()
        self.rung, known, self._asked, self._first_ms, self.window_ms, *began = state["at"].tolist()
        self._began_ms = began[0] if began else 0
        self.known = bool(known)
        self._until_ms, self._sizes, self._reached = state["cohorts"].tolist()
        self._ends = state["ends"].tolist()
        self._newest = [(t_ms, age) for t_ms, age in state["newest"].tolist()]
