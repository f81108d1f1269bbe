"""The counters of the join, each with what it means in the words of `kinds.py`.

Owns which of them are shown where. Does not know how they were counted.
"""

from collections.abc import Mapping

from rich.table import Table

from deploy.registry.kinds import COUNTERS, POSITIONS

MEANINGS = COUNTERS | POSITIONS
OUTSTANDING = ("waiting", "early", "late", "orphan", "rejected", "lost")


def counters(counted: Mapping[str, int]) -> Table:
    """Lay out all counters."""
    table = Table("counter", title="counters of the join, over all shards")
    table.add_column("count", justify="right")
    table.add_column("what it counts")
    for name, count in counted.items():
        table.add_row(name, f"{count:,}", MEANINGS[name])
    return table


def outstanding(counted: Mapping[str, int]) -> Table:
    """Lay out the counters of what became no sample, or not yet."""
    return counters({name: counted[name] for name in OUTSTANDING})
