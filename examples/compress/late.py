"""The flights example (examples/flights) for scripts: its pipeline, its history, and a part of its feed.

Owns the choice of flights and the table by month. Knows nothing of learning.
"""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from datetime import datetime
from itertools import count
from pathlib import Path
from zoneinfo import ZoneInfo

from deploy.learning.candidates import history
from deploy.pipeline import load
from shadowstream import ConfigError, Data, FeedEvent

PIPELINE = load(Path(__file__).parents[1] / "flights" / "pipeline.py")
REQUESTS = 309_772  # flights that were to leave New York from February to December 2013
NEW_YORK = ZoneInfo("America/New_York")


def january() -> Data:
    """Return the history: January's flights that arrived."""
    data = history(PIPELINE)
    if data is None:
        raise ConfigError("the flights example has no history")
    return data


def feed(rows: int) -> Iterator[FeedEvent]:
    """Yield the requests of about `rows` flights, spread over the year, and their outcomes, in order of time."""
    every, number, chosen = max(1, REQUESTS // rows), count(), set()
    for event in PIPELINE.feed() if PIPELINE.feed else ():
        if event.topic == "requests" and next(number) % every == 0:
            chosen.add(event.key)
        if event.key in chosen:
            yield event


class Months:
    """Mean losses by month, with a column for each of `names`."""

    def __init__(self, names: Sequence[str]) -> None:
        self._names = names
        self._sums: dict[int, list[float]] = defaultdict(lambda: [0.0] * len(names))
        self._counts: dict[int, int] = defaultdict(int)

    def add(self, t_ms: int, losses: Sequence[float]) -> None:
        """Add one flight's losses, one for each column."""
        month = datetime.fromtimestamp(t_ms / 1_000, NEW_YORK).month
        self._counts[month] += 1
        self._sums[month] = [a + b for a, b in zip(self._sums[month], losses, strict=True)]

    def show(self) -> None:
        """Print the table."""
        print(f"{'log loss':12}{'flights':>9}" + "".join(f"{name:>20}" for name in self._names))
        for month in sorted(set(self._counts) & set(range(2, 13))):
            self._row(f"{datetime(2013, month, 1, tzinfo=NEW_YORK):%B}", [month])
        self._row("together", list(self._counts))

    def _row(self, name: str, months: Sequence[int]) -> None:
        size = sum(self._counts[month] for month in months)
        columns = zip(*(self._sums[month] for month in months), strict=True)
        print(f"{name:12}{size:>9,}" + "".join(f"{sum(column) / size:>20.4f}" for column in columns))
