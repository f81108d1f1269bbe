"""The audit of what was learned: every sample once, none missing. Reads commits; trusts no counter of its own.

Owns the count of ids over all commits. The join's equations are the store's (`ShardState.equations`).
"""

from collections import Counter

from msgspec import Struct

from deploy.registry import Registry
from streams.step import ShardState


class _Id(Struct):
    id: str


class _Sample(Struct):
    revision: int
    prediction: _Id


class _Commit(Struct):
    samples: list[_Sample]


class Learned(Struct, frozen=True):
    """How many samples the commits hold, and how many (id, revision) more than once."""

    samples: int
    doubled: int


def learned(registry: Registry) -> Learned:
    """Count the samples of all commits by id and revision."""
    seen: Counter[tuple[str, int]] = Counter()
    number = 0
    while (commit := registry.record("commits", number, _Commit)) is not None:
        seen.update((s.prediction.id, s.revision) for s in commit.samples)
        number += 1
    return Learned(seen.total(), seen.total() - len(seen))


class Equation(Struct, frozen=True):
    """One line of the audit: what must equal what, and the two sums."""

    text: str
    left: int
    right: int

    @property
    def holds(self) -> bool:
        """Whether it balances."""
        return self.left == self.right


EQUATIONS = (
    ("predictions", ("opened", "prediction_duplicate", "prediction_too_late")),
    ("opened", ("joined", "negative", "unlabelled", "waiting")),
    ("outcomes", ("used", "early", "outcome_duplicate", "late", "orphan", "outcome_too_late")),
)


def equations(shards: list[ShardState], samples: int) -> list[Equation]:
    """Check the join's counters, over all shards, against each other and against the samples learned."""
    total: Counter[str] = Counter()
    for shard in shards:
        total.update(shard.counters)
    found = [
        Equation(f"{left} = {' + '.join(right)}", total[left], sum(total[n] for n in right))
        for left, right in EQUATIONS
    ]
    emitted = total["joined"] + total["negative"] + total["corrected"]
    found.append(Equation("samples issued = joined + negative + corrected", sum(s.seq for s in shards), emitted))
    unread = sum(s.unread for s in shards)
    found.append(Equation("samples issued = learned + unread", sum(s.seq for s in shards), samples + unread))
    found.append(Equation("positions = records + rejected + holes + lost", *_positions(shards)))
    return found


def _positions(shards: list[ShardState]) -> tuple[int, int]:
    places = {tp: at for shard in shards for tp, at in shard.positions.items()}
    counted = sum(at.records + at.rejected + at.holes + at.lost for shard in shards for at in shard.positions.values())
    return sum(at.next - at.start for at in places.values()), counted
