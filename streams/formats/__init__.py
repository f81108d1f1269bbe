"""Readers of a user's events: the format of a record's value, and which fields hold id, time and label.

fields.py      makes a reader from field names
content.py     what a format is; JSON and MessagePack
registry.py    a schema registry over HTTP, and the frame that names a value's schema
avro.py        Avro, by a schema or a registry        ┐ each needs the extra `registry`
protobuf.py    Protobuf, by a class or a registry     ┘
"""
