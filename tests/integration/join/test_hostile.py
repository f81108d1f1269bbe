"""Hostile events in a good feed, on a real broker and store: each becomes a dead letter, and nothing else does."""

import json
import time
from collections import Counter
from collections.abc import Iterable
from contextlib import closing
from pathlib import Path
from random import Random
from typing import NamedTuple

from streams.formats.fields import fields
from streams.join.batch import Readers
from streams.join.joiner import Joiner
from streams.kafka import Source
from streams.kafka.records import tp_name
from tests.conftest import Running
from tests.hostile import HUGE, KINDS, OLD, SEED_MS, Hostile, event, mixed
from tests.integration.join.joined import Feed, balanced

GOOD, EVIL = 1_000, 1_000
LARGEST = 900_000  # what a topic takes that nobody configured, less the frame


class Sent(NamedTuple):
    """What was sent: what must be refused by position, the labels that must come, and how often each kind was sent."""

    records: int
    refused: dict[bytes, str]
    joining: dict[str, int]
    kinds: Counter[str]


def send(feed: Feed, events: Iterable[tuple[bool, Hostile]]) -> Sent:
    """Send the events to the two topics of one partition each, and wait until all are acknowledged."""
    sent = Sent(0, {}, {}, Counter())
    after = dict.fromkeys(feed.tps, 0)
    for outcome, made in events:
        tp = feed.tps[outcome]
        feed.sink.send(tp, key=b"k", value=made.value, t_ms=SEED_MS)
        if made.refused:
            sent.refused[f"{tp.topic}/{tp.partition}/{after[tp]}".encode()] = made.kind
        elif outcome and made.kind != OLD:
            sent.joining[made.id] = json.loads(made.value or b"")["x"]
        sent.kinds[made.kind] += not outcome or made.refused
        after[tp] += 1
    assert feed.sink.flush() == after
    return sent._replace(records=sum(after.values()))


def joiner(feed: Feed) -> Joiner:
    predictions, outcomes, dead_letters = feed.topics
    readers = Readers(
        predictions=predictions,
        outcomes=outcomes,
        dead_letters=dead_letters,
        prediction=fields(id="id", t="at"),
        outcome=fields(id="id", t="at", label="x"),
    )
    source = feed.undo.enter_context(closing(Source(feed.broker, feed.tps)))
    return Joiner(feed.name, feed.policy, source, feed.store, feed.sink, readers, lambda: feed.now)


def drain(joiner: Joiner, records: int) -> None:
    deadline = time.monotonic() + 300
    while records > 0:
        assert time.monotonic() < deadline
        records -= joiner.step(50)


def joined(feed: Feed) -> dict[str, int]:
    """Return id → label of every sample, after checking that Python's own parser reads its JSON."""
    labels: dict[str, int] = {}
    after = "0-0"
    while page := feed.store.read(feed.name, 0, after, 1_000):
        after = page[-1][0]
        for row in (json.loads(body) for _, body, _ in page):
            assert row["id"] not in labels
            assert row["prediction"]["id"] == row["id"]
            labels[row["id"]] = row["label"]
    return labels


def test_hostile_events_are_refused_and_the_good_feed_is_complete(
    broker: Running, embedded_store_url: str, tmp_path: Path
) -> None:
    feed = Feed(broker, Running("embedded", embedded_store_url, tmp_path))
    with feed.undo:
        largest = Hostile(HUGE, event("a" * (LARGEST - 200)), True)
        sent = send(feed, [*mixed(Random(4), GOOD, EVIL, LARGEST // 4), (False, largest), (True, largest)])
        assert set(sent.kinds) == {"", *KINDS}
        made = joiner(feed)
        drain(made, sent.records)
        (shard,) = made.shards
        labels = joined(feed)
        assert {id: labels[id] for id in sent.joining} == sent.joining
        old = set(labels) - set(sent.joining)
        assert all(id.startswith("evil-") for id in old)
        letters = feed.letters(len(sent.refused))
        assert {letter.key for letter in letters} == set(sent.refused)
        assert all(dict(letter.headers)["reason"] for letter in letters)
        counted = [shard.partitions[tp_name(tp)] for tp in feed.tps]
        assert sum(at.rejected for at in counted) == len(sent.refused) == len(letters)
        assert sum(at.records for at in counted) == 2 * (len(sent.joining) + sent.kinds[OLD])
        apart = sum(shard.counters[n] for n in ("prediction_too_late", "waiting", "unlabelled"))
        assert len(old) + apart == sent.kinds[OLD]
        assert shard.counters["joined"] == len(labels)
        balanced(feed)
