"""The flights example, cut to its first sixteen live days and with a candidate every four, for an end-to-end test."""

from collections.abc import Iterator
from dataclasses import replace
from itertools import takewhile
from pathlib import Path

from deploy.pipeline import load
from shadowstream import FeedEvent, Promotion

UNTIL_MS = 1_361_059_200_000  # 17 February 2013, 00:00 UTC

flights = load(Path(__file__).parents[3] / "examples" / "flights" / "pipeline.py")


def feed() -> Iterator[FeedEvent]:
    """Yield the live feed's first days; a flight that arrives after their end never gets its outcome."""
    if flights.feed is None:
        raise ValueError("the flights example has lost its feed")
    return takewhile(lambda event: event.t_ms < UNTIL_MS, flights.feed())


PROMOTION = Promotion(every_days=4, candidates_a_year=4, drift_a_year=0)
pipeline = replace(flights, name="slice", feed=feed, promotion=PROMOTION)
