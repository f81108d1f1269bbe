"""The audit of the join: what must equal what, by shard, in all, and by partition.

Owns the protocol's equations over the shards' counters. Does not know where samples went after the stream, nor whether
the counters tell the truth: `verify.py` checks that.
"""

from collections import Counter
from collections.abc import Mapping, Sequence

from msgspec import Struct

from streams.join.step import ShardState
from streams.join.store import Store

LOOKS = 20  # how often shards on the move are looked at again
EQUATIONS = (
    ("predictions", ("opened", "prediction_duplicate", "prediction_too_late")),
    ("opened", ("joined", "negative", "unlabelled", "waiting")),
    ("outcomes", ("used", "early", "outcome_duplicate", "late", "orphan", "capped", "outcome_too_late")),
    ("seq", ("joined", "negative", "corrected", "restored")),
)
POSITIONS = ("records", "rejected", "holes", "lost")


class Equation(Struct, frozen=True):
    """One line of the audit: what must equal what, and the two sums."""

    text: str
    left: int
    right: int

    @property
    def holds(self) -> bool:
        """Whether it balances."""
        return self.left == self.right

    @property
    def difference(self) -> int:
        """Give what the right side lacks."""
        return self.left - self.right


class Partition(Struct, frozen=True):
    """One partition's positions over all shards; `equation` is None while the shards stand at different ones."""

    tp: str
    start: int
    next: int
    records: int
    rejected: int
    holes: int
    lost: int
    equation: Equation | None


class Audit(Struct, frozen=True):
    """The equations of each shard, of all of them together, and of each partition.

    `conflicts` are duplicates of a prediction that still waited, or was provisional, with another content.
    """

    shards: list[list[Equation]]
    total: list[Equation]
    partitions: list[Partition]
    conflicts: int

    @property
    def holds(self) -> bool:
        """Whether every equation that could be looked at balances."""
        found = [one for shard in self.shards for one in shard] + self.total
        return all(one.holds for one in found + [p.equation for p in self.partitions if p.equation])

    @property
    def moving(self) -> list[str]:
        """Give the partitions in which the shards stand at different positions."""
        return [partition.tp for partition in self.partitions if partition.equation is None]


def look(store: Store, feed: str, shards: int) -> list[ShardState]:
    """Look at every shard, again while they stand at different positions; the last look counts."""
    for _ in range(LOOKS):
        states = [store.shard(feed, shard) for shard in range(shards)]
        if all(_standing(states, tp) for tp in known(states)):
            break
    return states


def known(states: Sequence[ShardState]) -> list[str]:
    """Give the partitions, "topic:number", that all shards know: while one is added, some do not."""
    return sorted(set[str].intersection(*(set(state.partitions) for state in states)))


def audit(states: Sequence[ShardState]) -> Audit:
    """Check every equation."""
    counters = [{**state.counters, "seq": state.seq} for state in states]
    total: Counter[str] = Counter()
    for counted in counters:
        total.update(counted)
    return Audit(
        shards=[equations(counted) for counted in counters],
        total=equations(total),
        partitions=[_partition(states, tp) for tp in known(states)],
        conflicts=total["conflict"],
    )


def equations(counters: Mapping[str, int]) -> list[Equation]:
    """Check counters, and the number of samples as `seq`, against each other."""
    return [
        Equation(f"{left} = {' + '.join(right)}", counters[left], sum(counters[n] for n in right))
        for left, right in EQUATIONS
    ]


def _standing(states: Sequence[ShardState], tp: str) -> bool:
    return len({state.partitions[tp].next for state in states}) == 1


def _partition(states: Sequence[ShardState], tp: str) -> Partition:
    places = [state.partitions[tp] for state in states]
    start, end = places[0].start, min(at.next for at in places)
    sums = {name: sum(getattr(at, name) for at in places) for name in POSITIONS}
    held = Equation(f"next - start = {' + '.join(POSITIONS)}", end - start, sum(sums.values()))
    return Partition(tp=tp, start=start, next=end, equation=held if _standing(states, tp) else None, **sums)
