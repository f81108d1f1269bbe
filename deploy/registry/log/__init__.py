"""The record of a feed: its commits, one object each while they are new, then many to a segment; so its syncs, bundled.

frames.py      compressed bytes, never inflated beyond what may be there
segments.py    a segment's name and bytes; commits checked against each other
index.py       which segments may hold an id
log.py         commits created and read by number, wherever they are
sealer.py      commits moved into segments, and segments into larger ones
bundles.py     records of syncs created and read by number, wherever they are
bundler.py     syncs moved into bundles, and bundles into larger ones
sealing.py     threads that have that done beside a run
"""
