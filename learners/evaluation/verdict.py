"""How a candidate's test ends, and the names of the models that are measured. Does not know how a test is made."""

from enum import StrEnum

from msgspec import Struct

MODELS = ("frozen", "frozen_live", "deep", "served", "shadow")  # each is measured on the same samples


class Decision(StrEnum):
    """How a candidate's test ended, or that it runs."""

    RUNNING = "running"
    PROVEN = "proven"  # it is better by the margin
    FUTILE = "futile"  # it is not better by the margin
    NOT_PROVEN = "not proven"  # neither was shown within the horizon
    SUPERSEDED = "superseded"  # a newer candidate took its turn


class Verdict(Struct, frozen=True, kw_only=True):
    """How a candidate's test ended, with its evidence.

    `gain` is the mean of loss(champion) − loss(candidate) over the `samples` compared, `margin` what it must exceed,
    both in the unit of the task's loss. `log_wealth` and `log_needed` are natural logarithms: of the evidence W, and of
    the evidence that proves. `offset` (length K) is the candidate's intercept minus the champion's. `at_ms` is the
    watermark and `commit` the number of the commit that decided.
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
