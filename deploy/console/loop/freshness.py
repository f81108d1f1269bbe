"""How fresh predictions are, in words: how long after their arrival outcomes were known.

Owns words. Does not know where the figures come from.
"""

from deploy.registry.freshness import Ages, FreshNote

UNITS = (("days", 86_400_000), ("h", 3_600_000), ("min", 60_000), ("s", 1_000))


def duration(ms: float) -> str:
    """Return a duration in the largest unit of which it has two.

    >>> [duration(ms) for ms in (420, 5_000, 7_000_000, 90_000_000)]
    ['0.42 s', '5 s', '117 min', '25 h']
    """
    name, of_ms = next((one for one in UNITS if ms >= 2 * one[1]), UNITS[-1])
    return f"{ms / of_ms:.3g} {name}"


def fresh_lines(note: FreshNote | None) -> list[str]:
    """Return a line on how fresh predictions are; none before anything was counted."""
    parts = [("live experts", note.live), ("the version", note.weights)] if note else []
    said = [f"{name} {_said(ages)}" for name, ages in parts if ages]
    return [f"outcomes are known to predictions after: {'; '.join(said)}"] if said else []


def _said(ages: Ages) -> str:
    return f"{duration(ages.p50_ms)} (half), {duration(ages.p99_ms)} (99 %) of {ages.count:,}"
