"""What must hold when a fault run has ended: what was written against what was published, equations, verifier.

Owns the comparison. `shadowstream audit --verify` is asked as a user asks it; the comparison here trusts nothing of it.
"""

from collections import Counter

import pyarrow.parquet as pq

from deploy.operate.attach import attach
from deploy.operate.join.audit import inspect
from deploy.operate.join.dead import letters
from streams import dead
from tests.faults.world import World


def verdict(world: World) -> dict[str, int]:
    """Compare everything that was published with everything that was written; return the counts.

    Raises:
        AssertionError: something was lost, doubled or changed.
        Unbalanced, Disagreement: an equation does not hold, or the verifier disagrees.
    """
    seen, written = samples(world)
    for key in world.load.ancient & written.keys():
        assert written.pop(key) == (0, world.policy.negative_label)
    expected = world.load.expected()
    doubled = sum(count - 1 for count in seen.values())
    lost = sum(key not in written for key in expected)
    wrong = sum(written[key][1] != label for key, label in expected.items() if key in written)
    assert (lost, doubled, wrong) == (0, 0, 0), f"lost, doubled, wrong labels: {lost}, {doubled}, {wrong}"
    assert written.keys() == expected.keys()
    audited(world)
    return {"predictions": len(expected), "samples": seen.total(), "lost": lost, "doubled": doubled}


def audited(world: World) -> int:
    """Check that the equations hold, the verifier agrees, and every refused position has a letter; return how many."""
    inspect(world.path, world.settings, compare=True).check()
    with attach(world.path, world.settings) as attached:
        refused = dead.refused_positions(letters(attached).values())
        shards = [attached.store.shard(attached.feed.name, shard) for shard in range(attached.shards)]
    rejected = sum(at.rejected for shard in shards for at in shard.partitions.values())
    assert rejected == len(refused), f"{rejected} rejected, letters of {len(refused)}"
    return rejected


def samples(world: World) -> tuple[Counter[tuple[str, int]], dict[str, tuple[int, float]]]:
    """Read what was written: how often each id and revision, and each id's last revision and label."""
    written: dict[str, tuple[int, float]] = {}
    seen: Counter[tuple[str, int]] = Counter()
    for file in sorted(world.samples.glob("shard=*/*.parquet")):
        for row in pq.read_table(file, partitioning=None, columns=["id", "revision", "label"]).to_pylist():
            seen[row["id"], row["revision"]] += 1
            written[row["id"]] = max(written.get(row["id"], (-1, 0.0)), (row["revision"], row["label"]))
    return seen, written
