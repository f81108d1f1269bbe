"""What is done to a feed from another process.

attach.py      the feed: its file, settings and clients
start.py       a new folder with a pipeline that works
plan.py        what a start would do
status.py      how far it is
join/          whether everything is there; what could not be read; the end of a feed
versions/      versions: looked at, ordered, made again, without some events, elsewhere
registry/      what is kept, copied, signed and held
files.py       files to write
compressing.py a pipeline's model compressed, without a feed
"""
