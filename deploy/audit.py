"""The audit of what was learned: every sample once, none missing. Reads commits; trusts no counter of its own.

Owns reading the commits' samples, and the equation between join and learner. The join's own are `streams/audit.py`'s.
"""

from collections import Counter
from collections.abc import Iterator
from typing import Any

from msgspec import Struct

from deploy.registry import Registry
from streams.audit import Equation
from streams.audit import equations as joined
from streams.step import ShardState

__all__ = ["Commit", "Equation", "Learned", "Sample", "commits", "equations", "learned"]


class Sample(Struct):
    """What matters of a sample here."""

    id: str
    revision: int
    kind: str
    label: Any


class Commit(Struct):
    """What matters of a commit here."""

    samples: list[Sample]
    positions: dict[str, str]


class Learned(Struct, frozen=True):
    """How many samples the commits hold, and how many (id, revision) more than once."""

    samples: int
    doubled: int


def learned(registry: Registry) -> Learned:
    """Count the samples of all commits by id and revision."""
    seen = Counter((s.id, s.revision) for commit in commits(registry) for s in commit.samples)
    return Learned(seen.total(), seen.total() - len(seen))


def equations(shards: list[ShardState], samples: int) -> list[Equation]:
    """Check the join's counters, over all shards, against each other and against the samples learned."""
    total: Counter[str] = Counter()
    for shard in shards:
        total.update({**shard.counters, "seq": shard.seq})
    unread = sum(shard.unread for shard in shards)
    places = {tp: at for shard in shards for tp, at in shard.positions.items()}
    counted = sum(at.records + at.rejected + at.holes + at.lost for shard in shards for at in shard.positions.values())
    return [
        *joined(total),
        Equation("seq = learned + unread", total["seq"], samples + unread),
        Equation(
            "positions = records + rejected + holes + lost", sum(at.next - at.start for at in places.values()), counted
        ),
    ]


def commits(registry: Registry) -> Iterator[Commit]:
    """Give all commits in order."""
    number = 0
    while (commit := registry.record("commits", number, Commit)) is not None:
        yield commit
        number += 1
