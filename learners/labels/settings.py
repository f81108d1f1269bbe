"""What a pipeline says of its trust in outcomes: `Trust(...)`. Imports neither torch nor numba."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from compressors.arguments import COUNT, Range, named
from streams.errors import ConfigError

CENTURY_DAYS = 36_600
RANGES = {
    **dict.fromkeys(("samples", "memory"), COUNT),
    "limit": Range(0, open=True),
    "doubt_days": Range(0, CENTURY_DAYS),
    "hold_days": Range(0, CENTURY_DAYS, open=True),
    "most_usual": Range(1),
}


@named(ConfigError, ranges=RANGES)
@dataclass(frozen=True, kw_only=True)
class Trust:
    """When outcomes of one source are held for a person: they then speak against what is known, and others' do not.

    `source`: a field of the features, or a function of them, that says who reported the outcome; None: ranges of
        numbers and values of categories are watched instead, each as a source (`learners/labels/ranges.py`).
    `limit`: how far a source's excess of loss, in nats a sample, may be above the others' (`learners/labels/trust.py`).
    `doubt_days`: how long it must be, in days of event time, so that no storm or holiday counts. Ranges, which weather
        moves, are in doubt for twice as many days, each with a quarter of `memory` samples.
    `samples`: a source is judged from so many samples on.
    `memory`: the excess is a running mean over about so many samples.
    `hold_days`: how long, in event time, a source is held that nobody judges; each later time twice as long. A range is
        believed then as it is.
    `most_per_hour`: of a source that is named, at most so many outcomes in an hour of event time are learned; the rest
        are held. None: any number.
    `most_usual`: of a source that is named, at most so many times its usual outcomes are learned on a day of event time
        (the mean of its last 28 days, from the seventh on; 100 may always be); the rest are held. None: any number.

    Raises:
        ConfigError: a number is out of its range, or a source is missing that `most_per_hour` or `most_usual` is about.

    >>> from shadowstream import Trust
    >>> Trust(source="partner", most_per_hour=10_000).samples
    500
    >>> Trust(most_per_hour=100)
    Traceback (most recent call last):
    streams.errors.ConfigError: Trust.most_per_hour counts outcomes by source: name one, such as source="partner"
    """

    source: str | Callable[[Any], object] | None = None
    limit: float = 0.15
    doubt_days: float = 2.0
    samples: int = 500
    memory: int = 300
    hold_days: float = 90.0
    most_per_hour: int | None = None
    most_usual: float | None = None

    def __post_init__(self) -> None:
        if self.most_per_hour is not None and self.most_per_hour < 1:
            raise ConfigError(f"Trust.most_per_hour must be at least 1, got {self.most_per_hour}")
        for name in ("most_per_hour", "most_usual"):
            if getattr(self, name) is not None and self.source is None:
                raise ConfigError(f'Trust.{name} counts outcomes by source: name one, such as source="partner"')
