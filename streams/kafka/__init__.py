"""Kafka: a source of records by offset, an acknowledged sink, and the topics' settings.

    reading/       partitions from given offsets, and what is asked beside that
    writing/       records, with or without transactions
    admin.py       creates topics, and reads their settings
    topics.py      what the broker says of topics: ids, leaders, replicas
    held.py        what open transactions hold back
    retention.py   what those settings mean for a join
    broker.py      `Broker`, the section [kafka]
    connection.py  `Broker` as the client's settings, TLS included
    faults.py      the client's errors as ours
    diagnosis.py   asks a port by hand why no client can connect
    internals.py   the client's private parts, and the versions that have them
    names.py       Kafka's rule for the names of topics
    records.py     partitions and polled records as the rest of the project sees them

Nothing outside this folder imports kafka-python. Owns the consumers and producers, their settings and the mapping of
their errors onto ours. Knows nothing of outcomes, joins or stores: it reads from the offsets that the caller names.
Partitions are assigned by hand, never by a group.
"""

from streams.kafka.admin import ensure_topics, partition_counts, topic_settings
from streams.kafka.reading.source import Source
from streams.kafka.records import Polled, Rejected, Tp, crc
from streams.kafka.writing.sink import Sink

__all__ = ["Polled", "Rejected", "Sink", "Source", "Tp", "crc", "ensure_topics", "partition_counts", "topic_settings"]
