"""What the next commit will hold, as it grows.

Owns that samples, micro-batches, answers and places stay in step. Does not know how anything is learned.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

from msgspec import Raw

from learners.commits.commit import Quarantined, Run
from learners.commits.voids import Place, runs


@dataclass
class Draft:
    """The samples since the last commit, in the order learned."""

    samples: list[Raw] = field(default_factory=list)
    batches: list[int] = field(default_factory=list)
    shadow: list[list[float]] = field(default_factory=list)
    quarantined: list[Quarantined] = field(default_factory=list)
    latest_ms: int = 0
    _places: list[Place] = field(default_factory=list)

    @property
    def runs(self) -> list[Run]:
        """Which samples these are."""
        return runs(self._places)

    def add(self, places: Sequence[Place], samples: Sequence[bytes], shadow: list[list[float]], latest_ms: int) -> None:
        """Add a micro-batch that was learned."""
        self._places += places
        self.samples += map(Raw, samples)
        self.batches.append(len(samples))
        self.shadow += shadow
        self.latest_ms = max(self.latest_ms, latest_ms)
