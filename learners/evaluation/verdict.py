"""How a candidate's test ends, and the names of the models that are measured. Does not know how a test is made."""

from collections.abc import Sequence
from enum import StrEnum

from msgspec import Struct

THEIRS = "theirs"  # what another system has answered, where ours are its shadow
MODELS = ("frozen", "frozen_live", "deep", "served", "shadow")  # each is measured on the same samples


class Kind(StrEnum):
    """What a candidate is to the champion, which says what it must prove."""

    REFRESH = "refresh"  # the same recipe, made of newer samples: that it is better, W
    OTHER = "other"  # another recipe, model or lineage: also that it stays so, W and L


class Decision(StrEnum):
    """How a candidate's test ended, or that it runs."""

    RUNNING = "running"
    PROVEN = "proven"  # it is better by the margin
    FUTILE = "futile"  # it is not better by the margin
    NOT_PROVEN = "not proven"  # neither was shown within the horizon
    OVERCROWDED = "overcrowded"  # more candidates than are tested at once; another one was nearer to a decision
    SAME = "same"  # it is a champion already
    OVER_BUDGET = "over budget"  # a year's candidates were tested before it
    VETOED = "vetoed"  # it is better by the margin, and has broken a guard rail
    SUPERSEDED = "superseded"  # of older releases: a newer candidate took its turn


class Against(Struct, frozen=True, kw_only=True):
    """What a candidate showed against the version `champion`, on `samples` with labels.

    `gain` is the mean of loss(champion) − loss(candidate), `interval` a 95 % confidence interval of it, and `margin`
    what it must exceed. `log_wealth` is log W, `log_against` that of the opposite claim, and `log_lasting` log L, which
    counts for another recipe alone; natural logarithms.
    """

    champion: int
    samples: int
    gain: float
    interval: tuple[float, float] | None
    margin: float
    log_wealth: float
    log_against: float
    log_lasting: float = 0.0


class Guard(Struct, frozen=True):
    """What one guard rail has found of a candidate or a version; `said` has it in words.

    `value` is what was measured, and `limit` what it must keep to; None where that is no finite number.
    """

    name: str
    value: float | None
    limit: float | None
    passed: bool
    said: str


def vetoed(guards: Sequence[Guard]) -> str:
    """Return why a version may not serve, by the guard rails that it broke; "" if it broke none."""
    return "; ".join(guard.said for guard in guards if not guard.passed)


class Verdict(Struct, frozen=True, kw_only=True):
    """How a candidate's test ended, with its evidence.

    `gain` is the mean of loss(champion) − loss(candidate) over the `samples` compared, `margin` what it must exceed,
    both in the unit of the task's loss. `log_wealth` and `log_needed` are natural logarithms: of the evidence W, and of
    the evidence that proves. All of these are against the champion against which W is least; `against` has every one
    since the test began. `waiting` predictions had no label when it ended, and it took `days` of event time.
    `offset` (length K) is the candidate's intercept minus the live one. `at_ms` is the event time of the look and
    `commit` the number of the commit that decided. `lost_to`: the candidate for which an overcrowded one made room.
    `until_ms`: when one that is over budget could have been tested. `guards`: the guard rails of one that was proven,
    or broke one before. `waits` says why one that was proven waits for a person, "" if it takes over by itself.
    """

    candidate: int
    decision: Decision
    samples: int
    log_wealth: float
    log_needed: float
    gain: float
    margin: float
    offset: tuple[float, ...]
    at_ms: int
    commit: int
    kind: Kind = Kind.REFRESH
    against: tuple[Against, ...] = ()
    waiting: int = 0
    days: float = 0.0
    lost_to: int | None = None
    until_ms: int | None = None
    guards: tuple[Guard, ...] = ()
    waits: str = ""
