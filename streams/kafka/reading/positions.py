"""Positions that Kafka keeps for a consumer group which nobody joins, so that Kafka's own tools show the lag.

Owns the client that asks for them and sends them. It reads no records: a client that polls with a group also asks for
the group's coordinator at each poll.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from kafka import KafkaConsumer, TopicPartition
from kafka.structs import OffsetAndMetadata

from streams.kafka.broker import Broker, broker
from streams.kafka.connection import ANSWER_MS, settings
from streams.kafka.faults import Access, connecting, mapped
from streams.kafka.reading.probe import discard
from streams.kafka.records import Tp

COMMIT_MS = 1_000


class Positions:
    """The committed offsets of `group` in the topics.

    Raises:
        BrokerUnreachable: the broker does not answer. BrokerRefused: it refuses the login or the group.
    """

    def __init__(self, at: Broker | str, group: str, topics: Sequence[str]) -> None:
        self._access = Access(broker(at), "Read", topics, group=group)
        with connecting(self._access):
            self._consumer: Any = KafkaConsumer(
                **settings(broker(at)),
                group_id=group,
                enable_auto_commit=False,
                metrics_enabled=False,
                request_timeout_ms=ANSWER_MS,
            )

    def committed(self, tps: Sequence[Tp]) -> dict[Tp, int]:
        """Ask for committed offsets; partitions without one are absent."""
        with mapped(self._access):
            offsets = {tp: self._consumer.committed(TopicPartition(*tp), timeout_ms=ANSWER_MS) for tp in tps}
        return {tp: offset for tp, offset in offsets.items() if offset is not None}

    def commit(self, offsets: Mapping[Tp, int]) -> None:
        """Send offsets without waiting; if they are lost, their records are read again."""
        self._consumer.commit_async(_sent(offsets))

    def commit_now(self, offsets: Mapping[Tp, int]) -> None:
        """Send offsets and wait until they are kept, `COMMIT_MS` at most.

        Raises:
            BrokerUnreachable, BrokerRefused: they are not.
        """
        with mapped(self._access):
            self._consumer.commit(_sent(offsets), timeout_ms=COMMIT_MS)

    def close(self) -> None:
        """Close the client."""
        discard(self._consumer)


def _sent(offsets: Mapping[Tp, int]) -> dict[Any, Any]:
    return {TopicPartition(*tp): OffsetAndMetadata(offset, "", -1) for tp, offset in offsets.items()}
