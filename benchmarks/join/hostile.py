"""What an event costs one joiner: of a good feed, and of the same feed with hostile events mixed in.

Owns the comparison. The hostile events are those of the tests.
"""

import statistics
import sys
import uuid
from collections.abc import Iterable, Iterator
from contextlib import closing
from random import Random
from typing import Any, NamedTuple

from kafka import KafkaAdminClient

from benchmarks.join.contenders import APART, Arena
from benchmarks.join.events import Item, fill
from benchmarks.join.ours import DEAD
from deploy.embedded.servers import Service
from streams.kafka import ensure_topics
from tests.hostile import mixed

LARGEST_BYTES = 10_000_000
RARELY = 0.0003  # how often one of the large kinds comes for once that another does: 20 of 10 MB in a million
AT_LEAST = 0.5


class Filled(NamedTuple):
    """Two topics, and what is in them; `refused` of the `events` belong into the dead letters."""

    task: dict[str, Any]
    events: int
    refused: int
    bytes_: int


class Counted:
    """Makes the events of two topics, and counts them."""

    def __init__(self) -> None:
        self.events = self.refused = self.bytes_ = 0

    def items(self, good: int, evil: int) -> Iterator[Item]:
        """Yield a feed's events, of `good` pairs and `evil` hostile events, for one partition of each topic."""
        for outcome, made in mixed(Random(4), good, evil, LARGEST_BYTES, RARELY):
            self.events += 1
            self.refused += made.refused
            self.bytes_ += len(made.value or b"")
            yield Item(outcome, 0, b"k", made.value)


def run(broker: Service, redis_cmd: str | None, good: int, evil: int, rounds: int) -> dict[str, Any]:
    """Join both feeds in turn, `rounds` times."""
    ensure_topics(broker.address, {DEAD: 1})
    feeds = {"clean": _filled(broker.address, good, 0), "mixed": _filled(broker.address, good, evil)}
    times: dict[str, list[float]] = {kind: [] for kind in feeds}
    for _ in range(rounds):
        for kind, feed in feeds.items():
            times[kind].append(_seconds(feed, broker, redis_cmd))
            print(f"{kind}: {times[kind][-1]:.1f} s", file=sys.stderr, flush=True)
    costs = {kind: _cost(feed, times[kind]) for kind, feed in feeds.items()}
    ratio = costs["clean"]["us_an_event"] / costs["mixed"]["us_an_event"]
    return costs | {"good_pairs": good, "hostile": evil, "speed_ratio": ratio, "reached": ratio >= AT_LEAST}


def _filled(bootstrap: str, good: int, evil: int) -> Filled:
    name = uuid.uuid4().hex[:8]
    sides = (f"{name}-predictions", f"{name}-outcomes")
    with closing(KafkaAdminClient(bootstrap_servers=bootstrap)) as admin:
        wide = {"retention.ms": "-1", "max.message.bytes": f"{2 * LARGEST_BYTES}"}
        admin.create_topics({side: {"num_partitions": 1, "configs": wide} for side in sides}, wait_for_metadata=True)
    count = Counted()
    fill(bootstrap, sides, 1, count.items(good, evil))
    task = {"bootstrap": bootstrap, "predictions": sides[0], "outcomes": sides[1], "partitions": 1, "reader": "fields"}
    return Filled(task | {"events": count.events}, count.events, count.refused, count.bytes_)


def _seconds(feed: Filled, broker: Service, redis_cmd: str | None) -> float:
    with Arena(feed.task, broker, redis_cmd, None).running(APART, watch=False) as crew:
        crew.go()
        result = crew.result()
    if result.rejected != feed.refused:
        raise SystemExit(f"{result.rejected} events were refused, not {feed.refused}")
    return result.ended_s - result.began_s


def _cost(feed: Filled, seconds: Iterable[float]) -> dict[str, float]:
    took = statistics.median(seconds)
    return {
        "events": feed.events,
        "refused": feed.refused,
        "bytes_an_event": feed.bytes_ / feed.events,
        "us_an_event": took / feed.events * 1e6,
        "megabytes_a_second": feed.bytes_ / took / 1e6,
    }
