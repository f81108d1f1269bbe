"""A user's events by field names: what a record's value may be written in, and where id, time and label lie.

fields.py      field names into a reader
content.py     what a format gives; JSON and MessagePack
registry.py    a schema registry over HTTP, and the frame that names a schema
avro.py        Avro, by a schema or a registry        ┐ each needs the extra `registry`
protobuf.py    Protobuf, by a class or a registry     ┘
"""
