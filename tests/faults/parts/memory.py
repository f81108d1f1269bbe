"""The memory of named processes over time, and whether it stayed flat.

Owns sampling and the table. Judges by private memory (USS): what is shared with other processes of the machine comes
and goes with them, and PSS with it. Does not know what the processes do.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import psutil
from rich.table import Table

MB = 1 << 20
FLAT_MB = 5.0  # allocators and caches settle within this
Processes = Callable[[], Mapping[str, list[psutil.Process]]]


@dataclass
class Series:
    """A figure in bytes, over seconds since the start."""

    judged: bool
    at: list[float] = field(default_factory=list)
    bytes: list[int] = field(default_factory=list)

    def since(self, second: float) -> int:
        """Return the figure at a moment, or the first after it."""
        return next((size for at, size in zip(self.at, self.bytes, strict=True) if at >= second), self.bytes[-1])

    def growth_mb(self, settled: float) -> float:
        """Return by how much the figure rose from a moment to the end."""
        return (self.bytes[-1] - self.since(settled)) / MB


class Memory:
    """Samples RSS, PSS and USS of processes by name; `unjudged` names those that may grow."""

    def __init__(self, processes: Processes, unjudged: tuple[str, ...] = ()) -> None:
        self._processes, self._unjudged, self._began = processes, unjudged, time.monotonic()
        self.series: dict[str, Series] = {}

    @property
    def seconds(self) -> float:
        """The seconds since the start."""
        return time.monotonic() - self._began

    def look(self, **more: int) -> None:
        """Take one sample; `more` are further figures in bytes, all judged."""
        for name, family in self._processes().items():
            for kind, size in _sizes(family).items():
                self._note(f"{name} {kind}", size, judged=kind == "USS" and name not in self._unjudged)
        for name, size in more.items():
            self._note(name, size, judged=True)

    def growth_mb(self, settled: float) -> dict[str, float]:
        """Return by how much every judged figure grew from a moment on."""
        return {name: one.growth_mb(settled) for name, one in self.series.items() if one.judged}

    def table(self, settled: float) -> Table:
        """Show all: at 10 % of the time, at the end, highest, and the growth since the moment `settled`."""
        table = Table("MB", "at 10 %", "at the end", "highest", "growth", "flat")
        for name, one in sorted(self.series.items()):
            figures = (one.since(one.at[-1] / 10), one.bytes[-1], max(one.bytes))
            grew = one.growth_mb(settled)
            flat = ("yes" if grew <= FLAT_MB else "NO") if one.judged else ""
            table.add_row(name, *(f"{size / MB:,.1f}" for size in figures), f"{grew:+,.1f}", flat)
        return table

    def _note(self, name: str, size: int, *, judged: bool) -> None:
        one = self.series.setdefault(name, Series(judged))
        one.at.append(self.seconds)
        one.bytes.append(size)


def _sizes(family: list[psutil.Process]) -> dict[str, int]:
    total = {"RSS": 0, "PSS": 0, "USS": 0}
    for process in family:
        usage = process.memory_full_info()
        for kind in total:
            total[kind] += getattr(usage, kind.lower(), 0)  # macOS has no PSS
    return total
