"""What every running trust does, whoever it takes for a source, and what both kinds of it share.

Owns the contract, the excess of a sample, and the doubts that last until they are settled. Does not know how a source
is judged.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from torch import Tensor

from learners.labels.holds import Hold, Said
from learners.tasks.task import LOGIT_FLOOR, Task
from streams.events import Sample

BACK = 32_768  # samples of the log, all sources' together, that a doubt goes back
DAY_MS, HOUR_MS = 86_400_000, 3_600_000


class Distrusted(Protocol):
    """A source that is held: since when, until when in event time, and its excess in nats a sample."""

    @property
    def since_ms(self) -> int | None:
        """Since when it is held; None: it is not."""
        ...

    @property
    def until_ms(self) -> int:
        """Until when, if nobody judges it."""
        ...

    @property
    def excess(self) -> float:
        """By how much its outcomes speak against what is known."""
        ...


class RunningTrust(Protocol):
    """The trust in each source of a task's samples: a fold over samples in the log's order, and nothing else.

    `seen` counts the samples of the log so far. `doubts` are sources that are held, by the number of the first sample
    that is in doubt, until they are settled.
    """

    seen: int
    doubts: dict[str, int]

    @property
    def held(self) -> Mapping[str, Distrusted]:
        """The sources that are held now."""
        ...

    def follow(self, entries: Sequence[Sample], rows: Sequence[Any]) -> list[Hold]:
        """Follow entries of the log, whose features are `rows`; return which of them are held."""
        ...

    def doubted(self, row: Any, number: int) -> str | None:
        """Return the source that puts a sample in doubt, the log's so-and-so-many-th; None: there is none."""
        ...

    def settle(self) -> None:
        """Know that what is in doubt was taken back."""
        ...

    def rule(self, source: str, said: Said) -> None:
        """Take a person's word: `release` frees a source, `drop` holds it until it is released."""
        ...

    def state(self) -> dict[str, Tensor]:
        """Return all that changes."""
        ...

    def load(self, state: Mapping[str, Tensor]) -> None:
        """Go on from a state; what another kind of trust left in it is not known to this one."""
        ...


def first_doubted(doubts: Mapping[str, int], names: Sequence[str], number: int) -> str | None:
    """Return the first of a sample's sources whose doubt reaches back to it."""
    return next((one for one in names if one in doubts and number >= doubts[one]), None)


def excess(task: Task, sample: Sample) -> float:
    """Return by how much the loss of what was served exceeds the loss that it expects, in nats."""
    served = sample.prediction.served
    top = max(served) if len(served) > 1 else 0.0  # of classes, only differences count
    served = tuple(max(-LOGIT_FLOOR, min(LOGIT_FLOOR, z - top)) for z in served)
    residual = task.residual(served, sample.label)
    x = -sum(r * z for r, z in zip(residual, served, strict=True))
    return x if math.isfinite(x) else 0.0
