"""The audit of what was learned: every sample once, none missing. Reads commits; trusts no counter of its own.

Owns reading the commits' samples, and the equation between join and learner. The join's own are in `streams/audit/`.
"""

from collections import Counter
from collections.abc import Sequence
from typing import Any

import msgspec
from msgspec import Struct

from deploy.registry.history import backwards
from deploy.registry.registry import Registry
from learners.commits.commit import Quarantined
from learners.commits.voids import places
from streams.audit.equations import Equation
from streams.audit.equations import equations as joined
from streams.join.step import ShardState

__all__ = ["Equation", "Learned", "Sample", "equations", "learned", "learning", "read"]


class Sample(Struct):
    """What matters of a sample here."""

    id: str
    revision: int
    kind: str
    label: Any


read = msgspec.json.Decoder(Sample).decode


class Learned(Struct, frozen=True, kw_only=True):
    """What the commits hold and did not take back.

    How many samples, of which shard, how many (id, revision) more than once, and what was quarantined.
    """

    samples: int
    doubled: int
    shards: dict[int, int]
    quarantined: list[Quarantined]


def learned(registry: Registry) -> Learned:
    """Count the samples of all commits by shard, and by id and revision."""
    seen: Counter[tuple[str, int]] = Counter()
    shards: Counter[int] = Counter()
    quarantined: list[Quarantined] = []
    for commit in backwards(registry):
        seen.update((sample.id, sample.revision) for sample in map(read, commit.samples))
        shards.update(shard for shard, _ in places(commit))
        quarantined = commit.quarantined + quarantined
    doubled = seen.total() - len(seen)
    return Learned(samples=seen.total(), doubled=doubled, shards=dict(shards), quarantined=quarantined)


def learning(shards: Sequence[ShardState], found: Learned) -> list[Equation]:
    """Check each shard's samples against what became of them."""
    poison = Counter(one.shard for one in found.quarantined)
    return [
        Equation(
            f"shard {n}: seq = learned + quarantined + unread",
            shard.seq,
            found.shards.get(n, 0) + poison[n] + shard.unread,
        )
        for n, shard in enumerate(shards)
    ]


def equations(shards: Sequence[ShardState], found: Learned) -> list[Equation]:
    """Check the join's counters, over all shards, against each other and against the samples learned."""
    total: Counter[str] = Counter()
    for shard in shards:
        total.update({**shard.counters, "seq": shard.seq})
    places = {tp: at for shard in shards for tp, at in shard.partitions.items()}
    counted = sum(at.records + at.rejected + at.holes + at.lost for shard in shards for at in shard.partitions.values())
    return [
        *joined(total),
        *learning(shards, found),
        Equation(
            "positions = records + rejected + holes + lost", sum(at.next - at.start for at in places.values()), counted
        ),
    ]
