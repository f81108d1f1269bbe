"""Events in, samples out.

    events.py      requests, predictions, outcomes and samples, and their JSON
    readers.py     what a reader says of itself, and those that need no format
    returned.py    what is wrong with what a user's own reader returned or raised
    moments.py     a time in text
    texts.py       what the bytes of a key or header say
    errors.py      every error that a user meets, its exit code, and whether a retry helps
    hosts.py       host and port, by their grammar
    offsets.py     a set of offsets, small as text
    dead/          dead letters: what was refused, and how it is brought back
    kafka/         the Kafka adapter
    redis/         the Redis adapter: one server, Sentinels or a cluster
    formats/       readers of JSON, MessagePack, Avro and Protobuf, made from field names
    join/          predictions and outcomes become samples, in one atomic step
    outputs/       samples to a reader, a Kafka topic or Parquet files, once each
    audit/         the equations that must hold, and the same join in plain Python

Imports nothing else of ours.
"""
