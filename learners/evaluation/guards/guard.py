"""What a guard rail finds, the limits, and what a user's own guard rail is given.

Owns these records. Does not know how a value is measured.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from torch import Tensor

from compressors.arguments import Range, named
from learners.evaluation.verdict import Against, Guard
from streams.errors import ConfigError

MUCH = 1e9
LIMITS = {
    **dict.fromkeys(("constant", "drift", "change"), Range(0, 1)),
    **dict.fromkeys(("latency", "calibration", "slice"), Range(0, MUCH, open=True)),
}


@named(ConfigError, ranges=LIMITS)
@dataclass(frozen=True, kw_only=True)
class GuardRails:
    """The limits beyond which a candidate that is proven does not serve; None: it is measured, and nothing follows.

    `constant`: its outputs spread at least by this share of the champion's spread, or of 1 where they are logits, of
        the labels' spread where they are numbers, if that is less; also of a version that serves.
    `latency`: it takes at most so many times the champion's time, for 64 rows by the engine that serves; what takes no
        millisecond may take as long as it likes.
    `drift`: how far the distribution of its answers may be from the champion's to the same rows (Kolmogorov–Smirnov).
    `calibration`: of `Binary`, by how much mean p / mean y may be farther off 1 than the champion's.
    `slice`: by which share its loss may be above the champion's in any slice that `Pipeline.slices` names.
    `change`: the largest share of rows that it may decide otherwise than the champion.

    `drift` and `change` have no limit by default: after an untrained first version, or a change of the world, a good
    candidate is far from what serves. Outputs that are not finite are never served.

    Raises:
        ConfigError: a limit is out of its range.

    >>> GuardRails(latency=2.0, change=None).latency
    2.0
    >>> GuardRails(drift=2)
    Traceback (most recent call last):
    streams.errors.ConfigError: GuardRails.drift must be at least 0 and at most 1, got 2
    """

    constant: float | None = 0.05
    latency: float | None = 10.0
    drift: float | None = None
    calibration: float | None = 0.25
    slice: float | None = 0.2
    change: float | None = None


class TrialReport(NamedTuple):
    """What a user's own guard rail is told of a candidate that is proven.

    `against` is its test against the version `champion`: samples, gain, interval. `rows` are the features of the newest
    N samples, as the pipeline decodes them, `labels` their targets (N,) or (N, T), `ours` and `theirs` the answers
    (N, K) of candidate and champion, each under a live intercept of its own. `guards` are the other guard rails.

    >>> def keeps_its_head(report: TrialReport) -> str | None:
    ...     share = float((report.ours.abs() > 9).double().mean())
    ...     return f"is sure of {100 * share:.0f} % of its answers" if share > 0.5 else None
    """

    candidate: int
    champion: int
    against: Against
    rows: Sequence[Any]
    labels: Tensor
    ours: Tensor
    theirs: Tensor
    guards: tuple[Guard, ...]


Own = Callable[[TrialReport], str | None]


def at_most(name: str, value: float, limit: float | None, said: str, unit: float = 1.0) -> Guard:
    """Return the finding of a value that may be as large as its limit, which is said in a unit of its own.

    >>> at_most("change", 0.4, 0.25, "40 % of decisions change", unit=100).said
    '40 % of decisions change, at most 25'
    """
    most = "" if limit is None else f", at most {unit * limit:g}"
    return Guard(name, value, limit, limit is None or value <= limit, said + most)
