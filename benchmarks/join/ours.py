"""Our side of the benchmark, each part a process of its own: raw polls, a joiner, a reader of samples.

Owns how a joiner is made for a measurement (`make_joiner`, the one function to change with the project). Does not know
what else runs.
"""

import itertools
from typing import Any

from kafka import KafkaConsumer, TopicPartition
from msgspec.structs import replace

from benchmarks.peers.tally import Tally
from deploy.processes.worker import tune
from streams.events import Event, Record
from streams.formats.fields import fields
from streams.join.batch import Readers
from streams.join.joiner import Joiner
from streams.join.policy import JoinPolicy
from streams.join.store import Store
from streams.kafka import Sink, Source, Tp
from streams.kafka.records import tp_name
from streams.outputs.samples import Samples
from streams.readers import json_outcome, read_prediction, read_sample
from streams.redis import Address
from streams.returned import labelled

FEED = "measured"
DEAD = "dead"
POLICY = JoinPolicy(window_s=3_600, stream_bound=10**9)  # nobody trims here
BLOCK_MS = 50


def make_joiner(task: dict[str, Any], tps: list[Tp]) -> Joiner:
    """Make a joiner of predictions as our server writes them, or of any JSON by field names."""
    source, store, sink = Source(task["bootstrap"], tps), make_store(task), Sink(task["bootstrap"])
    by_name = task.get("reader") == "fields"
    readers = Readers(
        predictions=task["predictions"],
        outcomes=task["outcomes"],
        dead_letters=DEAD,
        prediction=fields(id="id", t="at") if by_name else read_prediction,
        outcome=fields(id="id", t="at", label="x") if by_name else _outcome,
    )
    return Joiner(FEED, replace(POLICY, shards=task["shards"]), source, store, sink, readers)


def _outcome(record: Record) -> Event:
    outcome = json_outcome(record)
    return labelled(outcome, outcome.label)


def make_store(task: dict[str, Any]) -> Store:
    """Open the row's store."""
    return Store(Address(url=task["store"], cluster=task["cluster"]))


def partitions(task: dict[str, Any], own: list[int]) -> list[Tp]:
    """Return the partitions of both topics with these numbers."""
    return [Tp(task[side], n) for side in ("predictions", "outcomes") for n in own]


def raw(tally: Tally) -> None:
    """Poll and count, nothing else: the most that the client library allows."""
    task = tally.task
    source = Source(task["bootstrap"], partitions(task, task["own"]))
    consumer = KafkaConsumer(**source._settings)  # the plain client with our settings
    consumer.assign([TopicPartition(*tp) for tp in source.tps])
    for tp in source.tps:
        consumer.seek(TopicPartition(*tp), 0)
    tally.await_go()
    tally.begin()
    count = 0
    while count < task["events"]:
        polled = consumer.poll(timeout_ms=BLOCK_MS, max_records=POLICY.batch_events)
        count += sum(map(len, polled.values()))
        if task["watch"]:
            for record in itertools.chain.from_iterable(polled.values()):
                if record.topic == task["outcomes"]:
                    tally.joined(record.key.decode())
    tally.end(count)


def join(tally: Tally) -> None:
    """Join until the store has applied all events of this process's partitions."""
    task = tally.task
    tps = partitions(task, task["own"])
    joiner = make_joiner(task, tps)
    tune()
    tally.await_go()
    tally.begin()
    count = 0
    while count < task["events"]:
        count += joiner.step(BLOCK_MS)
    at = [joiner.shards[0].partitions[tp_name(tp)] for tp in tps]
    if (applied := sum(p.next for p in at)) != task["events"]:
        raise SystemExit(f"{applied} events were applied, not {task['events']}")
    tally.end(count, sum(p.rejected for p in at))


def read(tally: Tally) -> None:
    """Read samples as a learner does, waiting for more."""
    samples = Samples(make_store(tally.task), FEED, tally.task["shards"])
    tally.await_go()
    tally.begin()
    for _, _, body in samples:
        tally.joined(read_sample(body).prediction.id)


if __name__ == "__main__":
    made = Tally()
    {"raw": raw, "join": join, "read": read}[made.task["part"]](made)
