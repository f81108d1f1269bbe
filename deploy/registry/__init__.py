"""What lasts.

registry.py    records that are created once, blobs by digest
records.py     what roles write down for each other
history.py     the commits read backwards, and rebuilt from
learned.py     every sample learned once, none missing
"""
