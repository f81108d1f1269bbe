"""What was learned, counted from the commits themselves: every sample once, none missing.

Owns reading the commits' samples, and the equation between join and learner. The join's own equations are in
`streams/audit/`.
"""

from collections import Counter
from collections.abc import Sequence
from typing import Any

import msgspec
from msgspec import Struct

from deploy.registry.commits import backwards
from deploy.registry.registry import Registry
from learners.commits.commit import Quarantined
from learners.commits.voids import slots
from streams.audit.equations import OFFSETS, Equation
from streams.audit.equations import equations as join_equations
from streams.events import WAITING
from streams.join.step import ShardState

__all__ = ["Equation", "Learned", "LearnedSample", "count_learned", "equations", "learned_equations", "read_sample"]


class LearnedSample(Struct):
    """The fields of a committed sample that an audit compares."""

    id: str
    revision: int
    kind: str
    label: Any


read_sample = msgspec.json.Decoder(LearnedSample).decode


class Learned(Struct, frozen=True, kw_only=True):
    """What the commits hold, without what later ones took back.

    `samples` were read; `doubled` of them repeat an id and revision that was read before. `shards` counts by shard,
    marks too; `held` is how many of these nothing has learned.
    """

    samples: int
    doubled: int
    shards: dict[int, int]
    held: dict[int, int]
    quarantined: list[Quarantined]


def count_learned(registry: Registry) -> Learned:
    """Count the samples of all commits by shard, and by id and revision."""
    seen: Counter[tuple[str, int]] = Counter()
    shards: Counter[int] = Counter()
    held: Counter[int] = Counter()
    quarantined: list[Quarantined] = []
    for commit in backwards(registry):
        samples, of = map(read_sample, commit.samples[commit.released :]), [slot.shard for slot in slots(commit)]
        seen.update((sample.id, sample.revision) for sample in samples if sample.kind != WAITING)
        shards.update(of[commit.released :])
        held.update(of[hold.at] for hold in commit.held)
        held.subtract(of[: commit.released])
        quarantined = commit.quarantined + quarantined
    doubled = seen.total() - len(seen)
    return Learned(samples=seen.total(), doubled=doubled, shards=dict(shards), held=dict(held), quarantined=quarantined)


def learned_equations(shards: Sequence[ShardState], learned: Learned) -> list[Equation]:
    """Compare the number of samples that each shard emitted with what became of them."""
    quarantined = Counter(sample.shard for sample in learned.quarantined)
    return [
        Equation.of(
            "seq",
            shard.seq,
            {
                "learned": learned.shards.get(n, 0) - learned.held.get(n, 0),
                "held": learned.held.get(n, 0),
                "quarantined": quarantined[n],
                "unread": shard.unread,
            },
            where=f"shard {n}: ",
        )
        for n, shard in enumerate(shards)
    ]


def equations(shards: Sequence[ShardState], learned: Learned) -> list[Equation]:
    """Compare the join's counters, over all shards, with each other and with the samples learned."""
    total: Counter[str] = Counter()
    for shard in shards:
        total.update({**shard.counters, "seq": shard.seq})
    partitions = {tp: at for shard in shards for tp, at in shard.partitions.items()}
    every = [at for shard in shards for at in shard.partitions.values()]
    return [
        *join_equations(total),
        *learned_equations(shards, learned),
        Equation.of(
            "positions",
            sum(at.next - at.start for at in partitions.values()),
            {name: sum(getattr(at, name) for at in every) for name in OFFSETS},
        ),
    ]
