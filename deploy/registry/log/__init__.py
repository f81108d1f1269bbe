"""The record of a feed: its commits, one object each while they are new, then many to a segment.

frames.py      compressed bytes, never inflated beyond what may be there
segments.py    a segment's name and bytes; commits checked against each other
index.py       which segments may hold an id
log.py         commits created and read by number, wherever they are
sealer.py      commits moved into segments, and segments into larger ones
sealing.py     a thread that has that done beside a run
"""
