"""A lost store, rebuilt from the commits, so that joiners can read the log again from its start; another's is refused.

Owns what a lost shard must know: the ids of all samples that were learned or quarantined, which are settled, and the
position after which it goes on. Does not know how a shard keeps them.
"""

from collections.abc import Iterable, Iterator

import msgspec
from msgspec import Struct

from deploy.registry.commits import backwards
from deploy.registry.registry import Registry
from learners.commits.commit import Commit
from learners.commits.voids import slots
from streams.errors import StoreRefused
from streams.events import WAITING
from streams.join.policy import JoinPolicy
from streams.join.step import Rules
from streams.join.store import NOTHING, Store


class Settled(Struct):
    """The parts of a sample that settle its id (a mark does not): `t` and `label_t` are milliseconds of event time."""

    id: str
    kind: str
    t: int
    label_t: int


_decode = msgspec.json.Decoder(Settled).decode


def check_ours(store: Store, registry: Registry, feed: str, shards: int) -> None:
    """Check that a registry that has learned nothing finds all samples of the feed in the store.

    Raises:
        StoreRefused: samples were taken from it: the feed is another registry's.
    """
    last = next(backwards(registry), None)
    if last is not None and last.number > 0:
        return
    taken = [n for n in range(shards) if store.there(feed, n) and not store.holds(feed, n, NOTHING)]
    if taken:
        raise StoreRefused(
            f"the store holds a feed {feed!r} whose samples were taken from shard {taken[0]}, and the registry at "
            f"{registry.home} has learned none: they are another registry's, or were written by a join. Set "
            "registry.path to the one that has them, or give this pipeline another name or another store"
        )


def restore(store: Store, registry: Registry, feed: str, policy: JoinPolicy) -> dict[int, str]:
    """Settle in the store what was learned of each shard that it lost; return by shard the position to go on after.

    Holds all their ids in memory meanwhile.
    """
    last = next(backwards(registry), None)
    at = {shard: last.positions.get(str(shard), NOTHING) if last else NOTHING for shard in range(policy.shards)}
    lost = {shard: position for shard, position in at.items() if position != NOTHING and not store.there(feed, shard)}
    for shard, ids in _ids(backwards(registry), lost, Rules.of(policy)).items():
        store.settle(feed, shard, lost[shard], sorted(ids), last.watermark_ms if last else 0)
    return lost


def _ids(commits: Iterable[Commit], shards: Iterable[int], rules: Rules) -> dict[int, list[tuple[int, str]]]:
    """Return the settled ids by shard, each with the watermark (milliseconds) at which it may be forgotten."""
    ids: dict[int, list[tuple[int, str]]] = {shard: [] for shard in shards}
    for commit in commits if ids else ():
        for shard, sample in _settled(commit):
            if shard in ids and sample.kind != WAITING:
                ids[shard].append((max(sample.t, sample.label_t) + rules.window_ms + rules.keep_ms, sample.id))
    return ids


def _settled(commit: Commit) -> Iterator[tuple[int, Settled]]:
    for slot, sample in zip(slots(commit), commit.samples, strict=True):
        yield slot.shard, _decode(sample)
    for quarantined in commit.quarantined:
        yield quarantined.shard, _decode(quarantined.sample)
