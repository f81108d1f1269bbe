"""A canary: what is proven serves a share of the requests first, which grows by steps.

Owns these steps, on which side a request is, and when a step is over. Does not know models, or what follows.
"""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

from msgspec import Struct

from compressors.arguments import COUNT, Range, named, shown
from learners.evaluation.trials.asked import DAY_MS
from learners.resumed import Resumed
from streams.errors import ConfigError
from streams.events import CORRECTION, WAITING, Sample

CENTURY_DAYS = 36_600
SALT, POINT = 16, 8  # bytes of a hash: those of an artifact's name that draw its requests, and those of a point
ALL = 1.0  # the share of a version that answers every request


@named(ConfigError, ranges={"samples": COUNT, "days": Range(0, CENTURY_DAYS, open=True)})
@dataclass(frozen=True, kw_only=True)
class Canary:
    """By which steps a version takes over under `Promotion(policy="canary")`.

    `steps`: the shares of the requests that it answers, each larger than the one before; after the last one, all.
    `samples`: a step is over when so many of the predictions that it answered in that step have their outcomes.
    `days`: or when those that have theirs are so far apart, in days of event time.

    Which requests these are is a hash of their ids: while the share grows, an id stays on its side.

    Raises:
        ConfigError: a number is out of its range, or the shares do not grow.

    >>> Canary(steps=(0.05, 0.25)).after(0.05), Canary(steps=(0.05, 0.25)).after(0.25)
    (0.25, 1.0)
    >>> Canary(steps=(0.1, 0.05))
    Traceback (most recent call last):
    streams.errors.ConfigError: Canary.steps must be shares above 0 and below 1 that grow, got (0.1, 0.05)
    """

    steps: Sequence[float] = (0.01, 0.1, 0.5)
    samples: int = 500
    days: float = 1.0

    def __post_init__(self) -> None:
        steps = self.steps
        shares = isinstance(steps, list | tuple) and all(type(one) is float and 0 < one < ALL for one in steps)
        if not steps or not shares or sorted(set(steps)) != list(steps):
            raise ConfigError(f"Canary.steps must be shares above 0 and below 1 that grow, got {shown(steps)}")
        object.__setattr__(self, "steps", tuple(steps))

    def after(self, share: float) -> float:
        """Return the next larger share; 0 is before the first one."""
        return next((one for one in self.steps if one > share), ALL)


def chosen(key: str, artifact: str, share: float) -> bool:
    """Return whether the request with the id `key` is among the share that an artifact answers.

    Each artifact has requests of its own: no id is always the first to try what is new.

    >>> [chosen(key, "3f0a", share) for key in ("a", "b") for share in (0.01, 0.5, 1.0)]
    [False, True, True, False, False, True]
    """
    salt, least = _drawn(artifact, share)
    return hashlib.blake2b(key.encode(), digest_size=POINT, salt=salt).digest() < least


@lru_cache
def _drawn(artifact: str, share: float) -> tuple[bytes, bytes]:
    """Return an artifact's salt, and the first point that is not in the share: bytes that compare as numbers do."""
    least = int(share * 256**POINT).to_bytes(POINT) if share < ALL else b"\xff" * (POINT + 1)
    return artifact.encode()[:SALT], least


class Own(NamedTuple):
    """Of the predictions that a version answered: how many have outcomes, the first of these, and the last."""

    samples: int
    first_ms: int
    last_ms: int

    @property
    def days(self) -> float:
        """How far they are apart, in days of event time."""
        return (self.last_ms - self.first_ms) / DAY_MS


class Gained(NamedTuple):
    """Beside the version `against`, its base: a canary's mean gain, loss(base) − loss(canary), over `samples`."""

    against: int
    samples: int
    gain: float


class StepsState(Struct):
    """What is known of each version's predictions."""

    _own: dict[int, Own]


class Steps(Resumed):
    """Takes samples; `shared` returns whether a version answers a share alone. What it knows follows from the log."""

    State = StepsState

    def __init__(self, canary: Canary, shared: Callable[[int], bool]) -> None:
        self.canary, self._shared = canary, shared
        self._own: dict[int, Own] = {}

    def take(self, samples: Sequence[Sample]) -> None:
        """Take what the learner learned; only the first outcome of a prediction counts."""
        for one in samples:
            version, t_ms = one.prediction.version, one.t
            if one.kind in (WAITING, CORRECTION) or not self._shared(version):
                continue
            count, first_ms, last_ms = self._own.get(version, Own(0, t_ms, t_ms))
            self._own[version] = Own(count + 1, min(first_ms, t_ms), max(last_ms, t_ms))

    def own(self, version: int) -> Own:
        """Return what is known of a version's predictions."""
        return self._own.get(version, Own(0, 0, 0))

    def over(self, version: int) -> bool:
        """Return whether a version's step is over."""
        own = self.own(version)
        return own.samples >= self.canary.samples or own.days >= self.canary.days
