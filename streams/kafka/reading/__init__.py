"""Reading Kafka, from the offsets that the caller names.

source.py      reads partitions
positions.py   what is committed for a group that nobody joins
probe.py       questions answered by a client of their own
scan.py        reads a log from one offset to another
decoding.py    fetched bytes into records
"""
