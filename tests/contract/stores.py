"""What the tests of all stores share: what each store cannot do, steps to send, and a shard's whole content."""

import itertools
from typing import NamedTuple

import pytest
from msgspec.structs import replace

from streams.join.step import RECENT, Move, Rules, ShardState, Step, outcome_entry, prediction_entry
from streams.join.store import Store
from streams.kafka import Tp
from tests.services.redis import Cluster, Place

NAMELESS = "7.0 does not say which command a script may not call"
TORN = "7.0 does a part of a step whose end its log has lost, at the second start"
CANNOT: dict[str, dict[str, str]] = {
    "valkey": {"nodes": "is one server", "tls": "is built without TLS"},
    "redis": {"nodes": "is one server", "names": NAMELESS, "torn": TORN},
    "valkey cluster": {},
    "redis cluster": {"names": NAMELESS, "torn": TORN},
}
T, HOUR_MS = 1_360_000_000_000, 3_600_000  # event times of the past
TPS = (Tp("p", 0), Tp("o", 0))
RULES = Rules(HOUR_MS, HOUR_MS, 0, HOUR_MS)
NUMBER = itertools.count()


class Stage(NamedTuple):
    """A running store, its name, and a client of it."""

    name: str
    place: Place
    store: Store

    def needs(self, ability: str) -> Cluster:
        """Skip the test, with the reason, where the store cannot do it."""
        if ability in CANNOT[self.name]:
            pytest.skip(f"{self.name} {CANNOT[self.name][ability]}")
        assert isinstance(self.place, Cluster)
        return self.place

    def feed(self, shards: int = 1) -> str:
        """Create a feed, the first two shards of which lie on different nodes, if there are several."""
        while True:
            feed = f"feed{next(NUMBER)}"
            ports = {self.place.node_of(feed, shard).port for shard in range(shards)}
            if len(ports) >= min(shards, 2, len(self.place.nodes)):
                self.store.create(feed, shards, TPS)
                return feed


def pairs(state: ShardState, count: int) -> Step:
    """Return the step that joins the next `count` pairs of a shard."""
    step = Step(f"token{next(NUMBER)}", RULES)
    for tp, at in sorted(state.partitions.items(), reverse=True):
        outcome = tp == "o:0"
        step.moves.append(
            Move(tp, at.next, at.next + count, records=count, t_ms=T, outcomes=int(outcome), recent=[T] * RECENT)
        )
        for key in (f"id:{n}" for n in range(at.next, at.next + count)):
            item, body = outcome_entry(key, T, "1", 2 * HOUR_MS) if outcome else prediction_entry(key, T, "{}", HOUR_MS)
            for values, value in ((step.which, len(step.moves)), (step.times, T)):
                values.append(value)
            for texts, text in ((step.ids, key), (step.items, item), (step.bodies, body)):
                texts.append(text)
    return step


def join(store: Store, feed: str, shard: int, count: int) -> ShardState:
    """Join so many pairs in one step."""
    return timeless(store.step(feed, shard, pairs(store.shard(feed, shard), count)))


def look(store: Store, feed: str, shard: int) -> ShardState:
    """Return a shard's state without the clock."""
    return timeless(store.shard(feed, shard))


def timeless(state: ShardState) -> ShardState:
    """Return a state without the clock, which differs from look to look."""
    return replace(state, now_ms=0)


def numbers(store: Store, feed: str, shard: int) -> list[int]:
    """Return the numbers of all samples in a shard's stream."""
    return [int(entry.partition("-")[0]) for entry, *_ in store.read(feed, shard, "0-0", 1_000_000)]
