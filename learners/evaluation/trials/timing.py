"""When a feed's log says enough of a day's predictions for a look: the join's settings, as trials need them."""

from typing import NamedTuple

from learners.evaluation.trials.asked import DAY_MS, Final
from streams.join.policy import JoinPolicy


class Timing(NamedTuple):
    """From which age on every prediction is in the log: with its label or, where `marks_ms` are asked for, as waiting.

    `final` says when a label is settled. A candidate is decided `late_ms` after it was made and some days of samples;
    None: as late as outcomes are.
    """

    age_ms: int
    marks_ms: tuple[int, ...]
    final: Final
    late_ms: int | None

    @classmethod
    def of(cls, join: JoinPolicy) -> "Timing":
        """Return a join's.

        >>> Timing.of(JoinPolicy(window_s=10 * 86_400)).age_ms  # what waits for so long is marked
        86400000
        >>> Timing.of(JoinPolicy(window_s=3_600)).age_ms
        3600000
        """
        window_ms, final_ms = round(join.window_s * 1_000), round(join.final_s * 1_000)
        marked = not join.at_close and window_ms > DAY_MS
        without_ms = window_ms if marked and join.absent != "negative" else None
        late_ms = final_ms - (window_ms if join.at_close else 0) if join.at_close or join.absent == "negative" else None
        return cls(DAY_MS if marked else window_ms, (DAY_MS,) * marked, Final(final_ms, without_ms), late_ms)
