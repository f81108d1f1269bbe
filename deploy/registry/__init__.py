"""What lasts.

kinds.py       every name under which something is written down, and what it means
records.py     what roles and people write down for each other
notes.py       what roles put on the feed's board, which may be lost
beside.py      work in a thread beside a run
runs.py        who has run the feed
registry.py    records that are created once, blobs by digest
storage/       bytes that are created once, on a disk or in a bucket
log/           the commits: new ones by themselves, then many to a segment
follow.py      a role that takes record after record, and notes how far it is
commits.py     the commits read newest first
rebuild.py     a state rebuilt from them
gc/            what is kept, and for what
backup.py      a copy made while the feed goes on
pulse.py       how a run is
signing.py     keys and signatures
receipts.py    what was forgotten, signed
held.py        samples that are held until a person releases or drops them
learned.py     every sample learned once, none missing
"""
