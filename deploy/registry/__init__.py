"""What lasts.

kinds.py       every name under which something is written down, and what it means
records.py     what roles write down for each other
registry.py    records that are created once, blobs by digest
storage.py     bytes that are created once, durably
history.py     the commits read backwards, and rebuilt from
learned.py     every sample learned once, none missing
"""
