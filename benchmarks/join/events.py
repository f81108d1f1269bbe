"""The benchmark's events: their bytes, their order, and publishing them at once or at a steady pace.

Owns the load. Does not know who reads it. As a program (`python -m benchmarks.join.events JSON`) it publishes at
a pace.
"""

import itertools
import json
import sys
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from random import Random
from typing import Any, NamedTuple

from kafka import KafkaProducer

OUTCOME_BYTES = 60
REACH = 1_000  # an outcome is at most so many pairs away from its prediction's place in the order


class Item(NamedTuple):
    """One event: whether it is an outcome, the pair's number, its bytes."""

    outcome: bool
    number: int
    key: bytes
    value: bytes | None


def name(number: int) -> str:
    """Return a pair's id."""
    return f"id-{number:08d}"


def prediction(number: int, t_ms: int, size_bytes: int) -> bytes:
    """Return a prediction's JSON of `size_bytes`; the features are its last field."""
    head = f'{{"id":"{name(number)}","t":{t_ms},"version":1,"output":[0.125],"intercept":[0.0],"learned":7,"features":"'
    return (head + "x" * (size_bytes - len(head) - 2) + '"}').encode()


def outcome(number: int) -> bytes:
    """Return an outcome's JSON."""
    head = f'{{"id":"{name(number)}","label":{number % 2},"from":"'
    return (head + "y" * (OUTCOME_BYTES - len(head) - 2) + '"}').encode()


def pairs(count: int, size_bytes: int, t_ms: int) -> Iterator[Item]:
    """Yield all predictions, a millisecond apart, then all outcomes, shuffled within `REACH`."""
    for n in range(count):
        yield Item(False, n, name(n).encode(), prediction(n, t_ms + n, size_bytes))
    random = Random(1)
    for n in sorted(range(count), key=lambda n: n + random.random() * REACH):
        yield Item(True, n, name(n).encode(), outcome(n))


def producer(bootstrap: str, **settings: Any) -> Any:
    """Make a producer whose records are acknowledged."""
    return KafkaProducer(bootstrap_servers=bootstrap, acks="all", metrics_enabled=False, **settings)


def fill(bootstrap: str, topics: tuple[str, str], partitions: int, items: Iterable[Item]) -> None:
    """Publish events, both of a pair to the same partition number, and wait until all are acknowledged."""
    client = producer(bootstrap, linger_ms=50, batch_size=1 << 18, max_request_size=1 << 27)
    sent = []
    for item in items:
        sent.append(client.send(topics[item.outcome], item.value, item.key, partition=item.number % partitions))
        if len(sent) == 20_000:
            _acknowledged(client, sent)
    _acknowledged(client, sent)
    client.close()


def _acknowledged(client: Any, sent: list[Any]) -> None:
    client.flush(60)
    for future in sent:
        future.get(0)
    sent.clear()


def paced(task: dict[str, Any]) -> dict[str, float]:
    """Send pairs at a steady rate; return when each pair's later event was sent, in seconds since 1970."""
    client = producer(task["bootstrap"], linger_ms=1)
    gap_s, lag = 2 / task["events_a_second"], task["events_a_second"] // 4  # half a second, in pairs
    sent: dict[str, float] = {}
    start_s = time.time()
    random = Random(2)
    order = sorted(range(task["pairs"]), key=lambda n: n + random.random() * lag)
    late: list[int | None] = [None] * lag
    for step, (new, due) in enumerate(itertools.zip_longest(range(task["pairs"]), [*late, *order])):
        time.sleep(max(0.0, start_s + step * gap_s - time.time()))
        for number, side, make in ((new, "predictions", _prediction(task)), (due, "outcomes", outcome)):
            if number is not None:
                sent[name(number)] = time.time()
                at = number % task["partitions"]
                client.send(task[side], make(number), name(number).encode(), partition=at)
    client.flush(60)
    return sent


def _prediction(task: dict[str, Any]) -> Any:
    return lambda number: prediction(number, int(time.time() * 1_000), task["size_bytes"])


if __name__ == "__main__":
    task_ = json.loads(sys.argv[1])
    Path(task_["file"]).write_text(json.dumps(paced(task_)))
