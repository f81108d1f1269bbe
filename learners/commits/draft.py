"""The next commit, as it grows.

Owns what has been learned and read since the last commit, and that its samples, micro-batches and answers are in step.
Does not know how anything is learned, or where commits are kept.
"""

import hashlib
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from msgspec import Raw

from learners.commits.commit import Commit, Doubted, Due, Quarantined, Ruling, Run, decode
from learners.commits.state import fingerprint
from learners.commits.voids import Slot, runs
from learners.labels.holds import Hold
from learners.online.learner import Learner


@dataclass
class Draft:
    """What follows the commit `last`: samples and marks in the order learned, and how far each shard's stream was read.

    `released` of the samples, the first, were held before; `ruled` and `doubted` are as in a commit.
    `parent` is the digest of the last commit's bytes. `watermark_ms` is event time; `began_s` is when the draft began,
    by `time.monotonic`. `asked` and `heard_ms` are as in a commit.
    """

    last: Commit
    parent: str
    positions: dict[int, str]
    watermark_ms: int
    heard_ms: int = -1
    began_s: float = field(default_factory=time.monotonic)
    samples: list[Raw] = field(default_factory=list)
    quarantined: list[Quarantined] = field(default_factory=list)
    asked: tuple[int, int, int] | None = None
    rulings: list[Ruling] = field(default_factory=list)
    released: int = 0
    ruled: int = 0
    doubted: list[Doubted] = field(default_factory=list)
    _held: list[Hold] = field(default_factory=list)
    _batches: list[int] = field(default_factory=list)
    _shadow: list[list[float]] = field(default_factory=list)
    _slots: list[Slot] = field(default_factory=list)
    _latest_ms: int = 0

    def add(
        self, slots: Sequence[Slot], samples: Sequence[bytes], shadow: list[list[float]], latest_ms: int,
        held: Sequence[Hold] = (),
    ) -> None:  # fmt: skip
        """Add a micro-batch that was learned: its samples and marks, of which some are `held`.

        `shadow` are the shadow's answers (N, K) to the N samples that were learned, `latest_ms` is the newest time.
        """
        self._slots += slots
        self._held += [hold.moved(len(self.samples)) for hold in held]
        self.samples += map(Raw, samples)
        self._batches.append(len(samples))
        self._shadow += shadow
        self._latest_ms = max(self._latest_ms, latest_ms)

    @property
    def learned(self) -> int:
        """How many samples it has, marks not counted."""
        return len(self._shadow)

    @property
    def runs(self) -> list[Run]:
        """Which samples were learned."""
        return runs(self._slots)

    def finish(
        self, learner: Learner, due: Due | None, void: Mapping[str, str], offsets: Mapping[str, tuple[int, int]]
    ) -> Commit:
        """Return the commit; `learner` has learned its samples. `offsets` are as in a commit."""
        return Commit(
            number=self.last.number + 1,
            parent=self.parent,
            learned=learner.learned,
            samples=self.samples,
            runs=self.runs,
            batches=self._batches,
            shadow=self._shadow,
            intercept=learner.intercept.value,
            positions={str(shard): position for shard, position in self.positions.items()},
            watermark_ms=self.watermark_ms,
            latest_ms=max(self.last.latest_ms, self._latest_ms),
            heard_ms=self.heard_ms,
            offsets=dict(offsets),
            due=due,
            quarantined=self.quarantined,
            void=dict(void),
            fingerprint=fingerprint(),
            scale=learner.scale,
            asked=self.asked,
            held=self._held,
            rulings=self.rulings,
            released=self.released,
            ruled=self.ruled,
            doubted=self.doubted,
        )


def after(data: bytes, shards: Iterable[int], start: str) -> Draft:
    """Return an empty draft that follows a commit, given by its bytes.

    `start` is the position of a shard that no commit has read.

    Raises:
        CommitError: the bytes are not a commit, or have another format.
    """
    last = decode(data)
    positions = {shard: last.positions.get(str(shard), start) for shard in shards}
    return Draft(last, hashlib.sha256(data).hexdigest(), positions, last.watermark_ms, last.heard_ms, ruled=last.ruled)
