"""A store that was lost, made anew from what was committed, so that joiners may read the log again from its start.

Owns what a lost shard must know: the ids of all that was learned or quarantined, which are settled, and the position
behind which it goes on. Does not know how a shard keeps them, nor joins anything.
"""

from collections.abc import Iterable, Iterator

import msgspec
from msgspec import Struct

from deploy.registry.history import backwards
from deploy.registry.registry import Registry
from learners.commits.commit import Commit
from learners.commits.voids import places
from streams.join.policy import JoinPolicy
from streams.join.step import Rules
from streams.join.store import NOTHING, Store


class Settled(Struct):
    """What matters of a sample here."""

    id: str
    t: int
    label_t: int


_decode = msgspec.json.Decoder(Settled).decode


def restore(store: Store, registry: Registry, feed: str, policy: JoinPolicy) -> dict[int, str]:
    """Have the store know what was learned of each shard that it lost; gives their positions, for `Store.create`.

    All their ids are in memory for a moment.
    """
    last = next(backwards(registry), None)
    at = {shard: last.positions.get(str(shard), NOTHING) if last else NOTHING for shard in range(policy.shards)}
    lost = {shard: position for shard, position in at.items() if position != NOTHING and not store.there(feed, shard)}
    for shard, ids in _ids(backwards(registry), lost, Rules.of(policy)).items():
        store.settle(feed, shard, lost[shard], sorted(ids))
    return lost


def _ids(history: Iterable[Commit], shards: Iterable[int], rules: Rules) -> dict[int, list[tuple[int, str]]]:
    """Give the settled ids of the shards, each with the time of the watermark at which it may be forgotten."""
    found: dict[int, list[tuple[int, str]]] = {shard: [] for shard in shards}
    for commit in history if found else ():
        for shard, one in _settled(commit):
            if shard in found:
                found[shard].append((max(one.t, one.label_t) + rules.window_ms + rules.keep_ms, one.id))
    return found


def _settled(commit: Commit) -> Iterator[tuple[int, Settled]]:
    for (shard, _), sample in zip(places(commit), commit.samples, strict=True):
        yield shard, _decode(sample)
    for one in commit.quarantined:
        yield one.shard, _decode(one.sample)
