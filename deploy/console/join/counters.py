"""Counts, each under its name in `--json` and with its meaning, from `deploy/registry/kinds.py`.

Owns which of them are shown where. Does not know how they were counted.
"""

from collections.abc import Mapping

from rich.table import Table

from deploy.console.fitted import Fitted
from deploy.registry.kinds import COUNTERS, PARTITION_COUNTERS, REJECTED_PARTS

MEANINGS = COUNTERS | PARTITION_COUNTERS | REJECTED_PARTS
OUTSTANDING = (  # what became no sample, or not yet
    "waiting", "early", "unlabelled", "late", "outcome_closed", "orphan", "early_refused", "prediction_too_late",
    "outcome_too_late",
    "too_late_silent", "rejected", "ahead", "lost",
)  # fmt: skip
ENDED = (
    "requests", "refused", "predictions", "outcomes", "rejected", "samples", "unlabelled", "lost", "doubled",
    "candidates", "drifts", "promotions", "rollbacks",
)  # fmt: skip


def counters(counted: Mapping[str, int]) -> Fitted:
    """Lay out the join's counters."""
    return table("counters of the join, over all shards", counted, MEANINGS)


def outstanding(counted: Mapping[str, int]) -> Fitted:
    """Lay out the counters of what became no sample, or not yet."""
    return counters({name: counted[name] for name in OUTSTANDING if name in counted})


def table(title: str, counted: Mapping[str, int], meanings: Mapping[str, str]) -> Fitted:
    """Lay out counts, each with its meaning."""
    rows = Table("name", title=title)
    rows.add_column("count", justify="right")
    rows.add_column("what it counts")
    for name, count in counted.items():
        rows.add_row(name, f"{count:,}", meanings[name])
    return Fitted(rows)
