"""What was learned, counted from the commits themselves: every sample once, none missing. What was let go is counted
where the log begins.

Owns reading the commits' samples, and the equation between join and learner. The join's own equations are in
`streams/audit/`.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from deploy.registry.commits import backwards, base
from deploy.registry.registry import Registry
from learners.commits.commit import Commit, Quarantined
from learners.commits.voids import slots
from streams.audit.equations import OFFSETS, Equation
from streams.audit.equations import equations as join_equations
from streams.events import WAITING
from streams.join.step import ShardState
from streams.outputs.samples import number

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
    marks too; `held` is how many of these nothing has learned, and `let_go` how many were learned of the commits of
    before `begins`, of which nothing else is known; `lost` were quarantined there.
    Up to the number `until` a shard's samples are in commits; what is not trimmed since is not unread.
    """

    samples: int
    doubled: int
    shards: dict[int, int]
    held: dict[int, int]
    quarantined: list[Quarantined]
    begins: int = 0
    let_go: Mapping[int, int] = MappingProxyType({})
    until: Mapping[int, int] = MappingProxyType({})
    lost: Mapping[int, int] = MappingProxyType({})


@dataclass
class Tally:
    """Counts entries by shard: all that were read, marks too, those that nothing has learned, and the quarantined."""

    shards: Counter[int] = field(default_factory=Counter)
    held: Counter[int] = field(default_factory=Counter)
    quarantined: Counter[int] = field(default_factory=Counter)

    def add(self, commit: Commit) -> None:
        """Count a commit."""
        of = [slot.shard for slot in slots(commit)]
        self.shards.update(of[commit.released :])
        self.held.update(of[hold.at] for hold in commit.held)
        self.held.subtract(of[: commit.released])
        self.quarantined.update(one.shard for one in commit.quarantined)


def count_learned(registry: Registry) -> Learned:
    """Count the samples of all commits by shard, and by id and revision."""
    while True:
        begins, before = registry.begins(), base(registry)
        found = _counted(registry)
        if registry.begins() == begins:  # else older samples were let go meanwhile
            break
    if before is None:
        return found
    shards, held = Counter(found.shards), Counter(found.held)
    shards.update(before.held)
    held.update(before.held)
    return replace(
        found, samples=found.samples + before.samples, shards=dict(shards), held=dict(held), begins=begins,
        let_go=before.learned, lost=before.quarantined,
    )  # fmt: skip


def _counted(registry: Registry) -> Learned:
    seen, tally, quarantined = Counter[tuple[str, int]](), Tally(), list[Quarantined]()
    until: dict[int, int] | None = None
    for commit in backwards(registry):
        if until is None:
            until = {int(shard): number(position) for shard, position in commit.positions.items()}
        samples = map(read_sample, commit.samples[commit.released :])
        seen.update((sample.id, sample.revision) for sample in samples if sample.kind != WAITING)
        tally.add(commit)
        quarantined = commit.quarantined + quarantined
    shards, held, doubled = dict(tally.shards), dict(tally.held), seen.total() - len(seen)
    return Learned(
        samples=seen.total(), doubled=doubled, shards=shards, held=held, quarantined=quarantined, until=until or {}
    )


def learned_equations(shards: Sequence[ShardState], learned: Learned) -> list[Equation]:
    """Compare the number of samples that each shard emitted with what became of them."""
    quarantined = Counter(sample.shard for sample in learned.quarantined) + Counter(learned.lost)
    return [
        Equation.of(
            "seq",
            shard.seq,
            {
                "learned": learned.shards.get(n, 0) - learned.held.get(n, 0),
                "held": learned.held.get(n, 0),
                "quarantined": quarantined[n],
                "unread": min(shard.unread, max(0, shard.seq - learned.until.get(n, 0))),
            }
            | ({"let_go": learned.let_go.get(n, 0)} if learned.begins else {}),
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
