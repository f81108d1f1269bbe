"""What open transactions hold back: a broker shows a reader nothing from the first open one on.

Owns the comparison of the last stable offset with the end of the log, and who holds it. Does not judge for how long a
transaction may be open.
"""

import contextlib
from collections.abc import Iterable
from datetime import UTC, datetime
from itertools import chain
from typing import Any

from kafka import TopicPartition
from kafka import errors as client
from kafka.admin import OffsetSpec
from msgspec import Struct

from streams.kafka.admin import administering
from streams.kafka.broker import Broker
from streams.kafka.faults import Access
from streams.kafka.internals import IsolationLevel
from streams.kafka.records import Tp


class Held(Struct, frozen=True):
    """A partition that an open transaction holds at `offset`; the log goes on to before `end`.

    `producer` is the id of its producer, `name` its transactional id, `since_ms` when it began; None where the broker
    does not tell us.
    """

    topic: str
    partition: int
    offset: int
    end: int
    producer: int | None = None
    name: str | None = None
    since_ms: int | None = None

    @property
    def line(self) -> str:
        """What is held, by whom, and what to do, as one line."""
        since = None if self.since_ms is None else datetime.fromtimestamp(self.since_ms / 1_000, UTC)
        facts = [f"since {since:%Y-%m-%d %H:%M:%S} UTC"] if since else []
        facts += [f"transactional id {self.name!r}"] if self.name else []
        facts += [f"producer id {self.producer}"] if self.producer is not None else []
        who = f" ({', '.join(facts)})" if facts else ""
        n = self.end - self.offset
        what = f"{n:,} offsets from there on are" if n > 1 else "record there is"
        return (
            f"partition {self.topic}/{self.partition} is held by an open transaction at offset {self.offset}{who}: the "
            f"{what} shown to no reader until it ends, and windows wait for it. Let its producer commit or abort, or "
            f"abort it: kafka-transactions.sh abort --topic {self.topic} --partition {self.partition} "
            f"--start-offset {self.offset}"
        )


def held(at: Broker, tps: Iterable[Tp]) -> list[Held]:
    """Ask which of these partitions an open transaction holds, and whose it is."""
    parts = {TopicPartition(*tp): OffsetSpec.LATEST for tp in tps}
    access = Access(at, "Describe", {tp.topic for tp in parts})
    with administering(access) as admin:
        stable = admin.list_partition_offsets(parts, isolation_level=IsolationLevel.READ_COMMITTED)
        ends = admin.list_partition_offsets(parts, isolation_level=IsolationLevel.READ_UNCOMMITTED)
        open_ = [tp for tp in parts if stable[tp].offset < ends[tp].offset]
        return [_whose(admin, tp, stable[tp].offset, ends[tp].offset) for tp in open_]


def _whose(admin: Any, tp: Any, offset: int, end: int) -> Held:
    producer = name = since_ms = None
    with contextlib.suppress(client.KafkaError, KeyError):  # an old broker, or rights that we lack
        active = admin.describe_producers([tp])[tp].active_producers
        first = min((one for one in active if one.current_transaction_start_offset >= 0), key=_start, default=None)
        if first:
            producer, since_ms = first.producer_id, first.last_timestamp
            for one in chain.from_iterable(admin.list_transactions(producer_id_filters=[producer]).values()):
                name = one.transactional_id
                since_ms = admin.describe_transactions([name])[name].transaction_start_time_ms
    return Held(tp.topic, tp.partition, offset, end, producer, name, since_ms)


def _start(producer: Any) -> int:
    return int(producer.current_transaction_start_offset)
