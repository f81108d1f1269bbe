"""What is done to versions.

lineage.py     what served, and what it was made of
orders.py      what a person orders: promote, roll back, pause, resume
drill.py       a bad candidate on purpose
versions.py    a version made again
forget.py      a version without some events, and the receipt of it
traces.py      where events are
receipts.py    a receipt checked
backtest.py    what other promotion policies would have decided
exchange/      versions in folders, to and from other registries
"""
