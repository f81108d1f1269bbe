"""A third of the slice's flights, and twenty days more of them, with outcomes ten days later than they came."""

from collections.abc import Iterator
from dataclasses import replace
from itertools import takewhile
from pathlib import Path
from zlib import crc32

from deploy.pipeline import load
from shadowstream import FeedEvent, Promotion

DAY_MS = 86_400_000
UNTIL_MS = 1_362_787_200_000  # 9 March 2013, 00:00 UTC

flights = load(Path(__file__).parents[3] / "examples" / "flights" / "pipeline.py")


def feed() -> Iterator[FeedEvent]:
    """Yield the events by their new times."""
    if flights.feed is None:
        raise ValueError("the flights example has lost its feed")
    given = (one for one in takewhile(lambda event: event.t_ms < UNTIL_MS, flights.feed()) if not crc32(one.key) % 3)
    late = [one._replace(t_ms=one.t_ms + 10 * DAY_MS) if one.topic == "outcomes" else one for one in given]
    yield from sorted(late, key=lambda event: event.t_ms)


pipeline = replace(flights, name="late", feed=feed, promotion=Promotion(every_days=4, candidates_a_year=91))
