"""What is done to a feed from another process.

attach.py      the feed: its file, settings and clients
start.py       a new folder with a pipeline that works
status.py      how far it is
audit.py       whether everything is there: the equations, and the log joined again
rebuilt.py     its commits learned again
versions.py    a version made again
forget.py      a version without some events, and the receipt of it
traces.py      where events are
backtest.py    what other promotion policies would have decided
receipts.py    a receipt checked
actions.py     end it, accept a loss
held.py        sources whose samples are held, and what a person says of them
emitted.py     what was emitted
dead.py        records that could not be read, and publishing them again
files.py       files to write
backup.py      a feed's registry copied while the feed goes on
drill.py       a bad candidate on purpose
exchange/      versions in folders, to and from other registries
compressing.py a pipeline's model compressed, without a feed
"""
