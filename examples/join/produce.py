"""Publishes a day of impressions, one every two seconds, and clicks for one in seven: `python produce.py HOST:PORT`."""

import json
import sys
from contextlib import closing

from streams.kafka import Sink, Tp

IMPRESSIONS = 43_200
START_MS = 1_700_000_000_000
EACH_MS = 2_000
CLICK_AFTER_MS = 45_000


def publish(sink: Sink, topic: str, at_ms: int, event: dict[str, object]) -> None:
    """Publish one event to the first partition of `clicks.<topic>`."""
    sink.send(Tp(f"clicks.{topic}", 0), key=None, value=json.dumps(event).encode(), t_ms=at_ms)


def main(bootstrap: str) -> None:
    """Publish all events to a broker at host:port, impressions and clicks as they would come."""
    with closing(Sink(bootstrap)) as sink:
        for n in range(IMPRESSIONS):
            shown_ms = START_MS + n * EACH_MS
            publish(sink, "predictions", shown_ms, {"ad_id": f"ad{n}", "shown_at": shown_ms, "slot": n % 3})
            if n % 7 == 0:
                clicked_ms = shown_ms + CLICK_AFTER_MS
                publish(sink, "outcomes", clicked_ms, {"ad_id": f"ad{n}", "clicked_at": clicked_ms, "clicked": True})
            if n % 5_000 == 0:
                sink.flush()
        sink.flush()


if __name__ == "__main__":
    main(sys.argv[1])
