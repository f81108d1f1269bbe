"""What an event costs with ever more predictions waiting, and how much of the store's memory each takes.

Owns steps made by hand and sent straight to the store; there is no Kafka. While it is measured, as many wait.
"""

import statistics
import sys
import time
import uuid
from collections.abc import Sequence
from contextlib import ExitStack, closing
from pathlib import Path
from random import Random
from typing import Any, NamedTuple

from redis import Redis

from benchmarks.join.events import name
from deploy.embedded.servers import Service, start_store
from streams.join.step import RECENT, Move, Rules, Step, outcome_entry, prediction_entry
from streams.join.store import Store

FEED, EVENTS, STEPS, CLOSES = "growth", 2_000, 20, 256
OLDEST = (STEPS + 1) * CLOSES  # the oldest are closed, and so must not be joined before
START_MS = 1_360_000_000_000
DAY_MS = 86_400_000
RULES = Rules(30 * DAY_MS, 7 * DAY_MS, 0, DAY_MS)
MOST_FLAT = 1.2


class Growing:
    """A shard that grows: `opened` predictions so far, of which the first `closed` windows are closed."""

    def __init__(self, store: Store, payload_bytes: int) -> None:
        self._store, self._payload, self._random = store, "1" * payload_bytes, Random(3)
        self._next = {"p": 0, "o": 0}
        self._choices: list[int] = []
        self.opened = self.closed = self.joined = 0
        store.create(FEED, 1, [("p", 0), ("o", 0)])
        store.shard(FEED, 0)  # loads the script before memory is measured

    @property
    def waiting(self) -> int:
        """How many predictions wait."""
        return self.opened - self.closed - self.joined

    def check(self) -> None:
        """Check that the store did what was timed."""
        count = self._store.shard(FEED, 0).counters
        counted, wanted = (count["waiting"], count["unlabelled"]), (self.waiting, self.closed)
        if counted != wanted:
            raise SystemExit(f"waiting and closed are {counted}, not {wanted}")

    def open(self) -> float:
        """Open as many predictions as a step takes; return the seconds."""
        numbers = range(self.opened, self.opened + EVENTS)
        self.opened += EVENTS
        self._choices += numbers
        return self._step("p", numbers)

    def choose(self) -> None:
        """Choose what will be joined among all that wait, except the oldest."""
        there = range(OLDEST, self.opened)
        self._choices = self._random.sample(there, min(len(there), STEPS * EVENTS))

    def join(self) -> float:
        """Settle as many as a step takes, at random; return the seconds."""
        self._random.shuffle(self._choices)
        chosen, self._choices = self._choices[:EVENTS], self._choices[EVENTS:]
        self.joined += len(chosen)
        return self._step("o", chosen)

    def lift(self) -> None:
        """Move the watermark past the windows of the oldest; the step that does so closes the first of them."""
        t_ms = START_MS + self.closed + OLDEST + RULES.window_ms
        for tp in ("p", "o"):
            self._timed(Step(uuid.uuid4().hex, RULES, [self._move(tp, 0, t_ms)]))
        self.closed += CLOSES

    def close(self) -> float:
        """Close as many due windows as one step takes, without an event; return the seconds."""
        self.closed += CLOSES
        return self._timed(Step(uuid.uuid4().hex, RULES))

    def _step(self, tp: str, numbers: Sequence[int]) -> float:
        move = self._move(tp, len(numbers), START_MS + max(numbers))
        step = Step(uuid.uuid4().hex, RULES, [move], [1] * len(numbers))
        for number in numbers:
            add(step, name(number), START_MS + number, self._payload)
        return self._timed(step)

    def _move(self, tp: str, count: int, t_ms: int) -> Move:
        start = self._next[tp]
        self._next[tp] = start + max(count, 1)
        return Move(
            f"{tp}:0", start, self._next[tp], t_ms=t_ms, records=count, outcomes=int(tp == "o"), recent=[t_ms] * RECENT
        )

    def _timed(self, step: Step) -> float:
        begun = time.perf_counter()
        self._store.step(FEED, 0, step)
        return time.perf_counter() - begun


def add(step: Step, id_: str, t_ms: int, payload: str) -> None:
    """Add an event to the step's only move, the way the joiner does."""
    rules = step.rules
    if step.moves[0].outcomes:
        item, body = outcome_entry(id_, t_ms, "1", rules.window_ms + rules.keep_ms)
    else:
        item, body = prediction_entry(id_, t_ms, payload, rules.window_ms)
    step.ids.append(id_)
    step.times.append(t_ms)
    step.items.append(item)
    step.bodies.append(body)


class Cost(NamedTuple):
    """At one size: microseconds an event to open, to join, to close, and the store's bytes for each that waits."""

    waiting: int
    open_us: float
    join_us: float
    close_us: float
    entry_bytes: float


def run(folder: Path, redis_cmd: str | None, sizes: Sequence[int], payload_bytes: int) -> dict[str, Any]:
    """Measure at each size, each in a store of its own, a step of each in turn."""
    with ExitStack() as stack:
        shards = {
            size: _filled(stack, start_store(folder / str(size), redis_cmd), size, payload_bytes)
            for size in sorted(sizes)
        }
        costs = _costs(shards)
    bound = 2 * payload_bytes + 120
    spread = {kind: _spread([getattr(c, kind) for c in costs]) for kind in ("open_us", "join_us", "close_us")}
    return {
        "payload_bytes": payload_bytes,
        "costs": [c._asdict() for c in costs],
        "most_to_least": spread,
        "flat": all(value <= MOST_FLAT for value in spread.values()),
        "bound_bytes": bound,
        "within_bound": all(c.entry_bytes <= bound for c in costs),
    }


def _filled(stack: ExitStack, started: Service, size: int, payload_bytes: int) -> tuple[Growing, float]:
    """Open predictions until `size` of them wait; return the shard, and the bytes that each takes."""
    service = stack.enter_context(started)
    store = stack.enter_context(closing(Store(service.address)))
    client = stack.enter_context(closing(Redis.from_url(service.address)))
    growing = Growing(store, payload_bytes)
    empty = _used(client)
    while growing.waiting < size:
        growing.open()
    entry_bytes = (_used(client) - empty) / growing.opened
    while client.info("persistence")["aof_rewrite_in_progress"]:  # its copies of pages are not the join's cost
        time.sleep(0.5)
    print(f"{size:,} wait", file=sys.stderr, flush=True)
    return growing, entry_bytes


def _costs(shards: dict[int, tuple[Growing, float]]) -> list[Cost]:
    for growing, _ in shards.values():
        growing.choose()
    rounds = [[(growing.open(), growing.join()) for growing, _ in shards.values()] for _ in range(STEPS)]
    for growing, _ in shards.values():
        growing.lift()
    closes = [[growing.close() for growing, _ in shards.values()] for _ in range(STEPS)]
    costs = []
    for n, (size, (growing, entry_bytes)) in enumerate(shards.items()):
        growing.check()
        opens, joins = zip(*(turn[n] for turn in rounds), strict=True)
        close_us = _us([turn[n] for turn in closes], CLOSES)
        costs.append(Cost(size, _us(opens, EVENTS), _us(joins, EVENTS), close_us, entry_bytes))
    return costs


def _us(seconds: Sequence[float], events: int) -> float:
    return statistics.median(seconds) / events * 1e6


def _spread(values: Sequence[float]) -> float:
    return max(values) / min(values)


def _used(client: Any) -> int:
    return int(client.info("memory")["used_memory"])
