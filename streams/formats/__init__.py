"""Readers of a user's events: the format of a record's value, and which fields hold id, time and label.

fields.py      makes a reader from field names
parts.py       a record's key, timestamp and headers as an id or time, and Kafka's own serializers
values.py      what an id, a time and a label must be
content.py     what a format is; JSON, with or without a registry's frame, and MessagePack
plain.py       the one conversion of a format's value to what JSON can hold
registry.py    a schema registry over HTTP, and the frame or header that names a value's schema
avro.py        Avro, by a schema or a registry        ┐
logical.py     what its logical types become          │
defaults.py    the defaults of a reader's schema      │ each needs the extra `registry`
protobuf.py    Protobuf, by a class or a registry     │
messages.py    what its messages become               │
imports.py     what its schemas import unreferenced   ┘
"""
