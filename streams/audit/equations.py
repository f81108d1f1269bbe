"""The equations of the join: by shard, over all shards, and by partition.

Owns the protocol's equations over the shards' counters. Does not know where samples went after the stream, nor whether
the counters are true: `verify.py` checks that.
"""

from collections import Counter
from collections.abc import Mapping, Sequence

from msgspec import Struct

from streams.join.step import ShardState
from streams.join.store import Store

READS = 20  # how often shards that move are read again
EQUATIONS = (
    ("predictions", ("opened", "prediction_duplicate", "prediction_too_late")),
    ("opened", ("joined", "negative", "unlabelled", "waiting")),
    (
        "outcomes",
        (
            "used",
            "early",
            "outcome_duplicate",
            "late",
            "outcome_closed",
            "orphan",
            "capped",
            "outcome_too_late",
            "early_refused",
        ),
    ),
    ("seq", ("joined", "negative", "corrected", "restored", "marked")),
)
OFFSETS = ("records", "rejected", "holes", "lost")


class Equation(Struct, frozen=True):
    """One line of the audit: its text, the values of its two sides, and those of each term of the right one."""

    text: str
    left: int
    right: int
    terms: dict[str, int]

    @classmethod
    def of(cls, name: str, left: int, terms: dict[str, int], where: str = "") -> "Equation":
        """Return the equation of what `name` names and the sum of the terms.

        >>> Equation.of("opened", 5, {"joined": 3, "waiting": 2}).numbers
        'opened 5 = joined 3 + waiting 2'
        """
        return cls(f"{where}{name} = {' + '.join(terms)}", left, sum(terms.values()), terms)

    @property
    def numbers(self) -> str:
        """The text with each name's number."""
        left = self.text.partition(" = ")[0]
        right = " + ".join(f"{name} {count:,}" for name, count in self.terms.items())
        return f"{left} {self.left:,} {'=' if self.holds else '≠'} {right}"

    @property
    def holds(self) -> bool:
        """Whether the two sides are equal."""
        return self.left == self.right

    @property
    def difference(self) -> int:
        """Left side less right side."""
        return self.left - self.right


class Partition(Struct, frozen=True):
    """One partition's offsets, summed over all shards; `equation` is None while their next offsets differ."""

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

    `conflicts` counts duplicates with another content of predictions that were waiting or provisional.
    """

    shards: list[list[Equation]]
    total: list[Equation]
    partitions: list[Partition]
    conflicts: int

    @property
    def holds(self) -> bool:
        """Whether every equation that can be checked holds."""
        counters = [one for shard in self.shards for one in shard] + self.total
        return all(one.holds for one in counters + [p.equation for p in self.partitions if p.equation])

    @property
    def moving(self) -> list[str]:
        """The partitions in which the shards differ in their next offset."""
        return [partition.tp for partition in self.partitions if partition.equation is None]


def look(store: Store, feed: str, shards: int) -> list[ShardState]:
    """Read every shard, again while they differ in a partition's next offset; return the last reading."""
    for _ in range(READS):
        states = [store.shard(feed, shard) for shard in range(shards)]
        if all(_agree(states, tp) for tp in known(states)):
            break
    return states


def known(states: Sequence[ShardState]) -> list[str]:
    """Return the partitions, "topic:number", that all shards know; while one is being added, some shards do not."""
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
    """Return the equations of counters; `seq` is the number of samples."""
    return [Equation.of(left, counters[left], {name: counters[name] for name in right}) for left, right in EQUATIONS]


def _agree(states: Sequence[ShardState], tp: str) -> bool:
    return len({state.partitions[tp].next for state in states}) == 1


def _partition(states: Sequence[ShardState], tp: str) -> Partition:
    by_shard = [state.partitions[tp] for state in states]
    start, end = by_shard[0].start, min(one.next for one in by_shard)
    sums = {name: sum(getattr(one, name) for one in by_shard) for name in OFFSETS}
    equation = Equation.of("next - start", end - start, sums)
    return Partition(tp=tp, start=start, next=end, equation=equation if _agree(states, tp) else None, **sums)
