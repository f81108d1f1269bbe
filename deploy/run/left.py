"""What a run that ends leaves, and the next start goes on from.

Owns the figures, from what was seen last. Does not ask anybody: what is asked may not answer.
"""

from collections.abc import Sequence

from msgspec import Struct

from streams.join.step import ShardState


class Left(Struct, frozen=True, kw_only=True):
    """The next offsets to read by `topic:partition`, and how many predictions wait for their outcome.

    `samples` says where the samples are, of which `unread` were not taken yet. Unless `lasting`, the log has ended with
    the run, and nothing can be continued.
    """

    positions: dict[str, int]
    waiting: int
    samples: str
    unread: int
    lasting: bool


def left(shards: Sequence[ShardState], samples: str, *, lasting: bool) -> Left:
    """Return what is left of these shards."""
    positions = {tp: min(shard.partitions[tp].next for shard in shards) for tp in sorted(shards[0].partitions)}
    return Left(
        positions=positions,
        waiting=sum(shard.counters["waiting"] for shard in shards),
        samples=samples,
        unread=sum(shard.unread for shard in shards),
        lasting=lasting,
    )
