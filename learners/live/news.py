"""When news of predictions comes, by their age, and k80: when 80 % of it has come.

Ages e_0 < e_1 < … A prediction that has no outcome at e_j *waits* there; one whose outcome came after e_{j−1}, at e_j
at the latest, *ends* there. Both are counted when the age e_j is reached, so that early news is not counted before the
late news of its own cohort (a life table: Cutler & Ederer 1958; no volume, base rate or label enters):

    r_j = ends_j / (ends_j + waits_j)     F_j = 1 − Π_{i≤j} (1 − r_i)

k80 is the least e_j with F_j ≥ 0.8; once the last age, the join's window, is reached, with F_j ≥ 0.8 F_J: of some
predictions no outcome ever comes. It stays while it has 75 % and no lesser age has 85 %.

Owns the counts. Does not know what anybody learns from news.
"""

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor

from learners.live.compiled import Doubles, compiled

DAY_MS = 86_400_000
# 84 s to 985 days
AGES_MS: tuple[int, ...] = (*(DAY_MS // 4**j for j in range(5, 0, -1)), *(int(DAY_MS * 1.5**j) for j in range(18)))
SHARE, KEEPS, LEAVES = 0.8, 0.75, 0.85
ENOUGH = 50  # counted at an age before anything is said of it
MEMORY = 10_000  # counted at an age: what was counted so long ago weighs 1/e


def ages_until(window_ms: int) -> tuple[int, ...]:
    """Return the ages of a join whose window is so long; it is the last.

    >>> [age // 60_000 for age in ages_until(7_200_000)]
    [1, 5, 22, 90, 120]
    """
    return (*(age for age in AGES_MS if age < window_ms), window_ms)


class News:
    """The counts at each age. `rung`: the age that is k80 if `known`, else the last age reached; −1: none.

    >>> news = News((1_000, 60_000, 3_600_000))
    >>> for _ in range(100):
    ...     news.count(0, ended=False)
    ...     news.count(1, ended=True)
    >>> news.known, news.k80_ms
    (True, 60000)
    """

    def __init__(self, ages_ms: Sequence[int] = AGES_MS) -> None:
        if not all(a < b for a, b in pairwise((0, *ages_ms))):
            raise ValueError("News: ages are positive and rise")
        self.ages_ms = tuple(ages_ms)
        self._ends, self._passed = np.zeros(len(ages_ms)), np.zeros(len(ages_ms))
        self.rung, self.known = -1, False

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
        """Return at which age an outcome with this delay ends; the number of ages if it is later than all."""
        return bisect_left(self.ages_ms, delay_ms)

    def count(self, age: int, *, ended: bool) -> None:
        """Count one prediction that reached an age: its outcome came since the one before, or it waits."""
        self.rung, self.known = _count(self._ends, self._passed, age, ended, self.rung, self.known)

    def state(self) -> dict[str, Tensor]:
        """Return copies of all that changes."""
        at = np.array([self.rung, self.known], dtype=np.int64)
        return {
            name: torch.from_numpy(part.copy())
            for name, part in {"ends": self._ends, "passed": self._passed, "at": at}.items()
        }

    def load(self, state: Mapping[str, Tensor]) -> None:
        """Go on from a state."""
        self._ends, self._passed = state["ends"].numpy().copy(), state["passed"].numpy().copy()
        rung, known = state["at"].tolist()
        self.rung, self.known = rung, bool(known)


@compiled
def _count(ends: Doubles, passed: Doubles, age: int, ended: bool, rung: int, known: bool) -> tuple[int, bool]:
    """Count one in place; return the new rung, and whether it is k80."""
    keeps = 1 - 1 / MEMORY
    ends[age] = ends[age] * keeps + ended
    passed[age] = passed[age] * keeps + 1
    came, waits, reached = np.zeros(len(ends)), 1.0, 0
    while reached < len(ends) and passed[reached] >= ENOUGH:
        waits *= 1 - ends[reached] / passed[reached]
        came[reached] = 1 - waits
        reached += 1
    all_of_it = came[-1] if reached == len(ends) and came[-1] > 0 else 1.0
    least = -1
    for j in range(reached - 1, -1, -1):
        if came[j] / all_of_it >= (LEAVES if known and j < rung else KEEPS if known and j == rung else SHARE):
            least = j
    return (least, True) if least >= 0 else (reached - 1, False)
