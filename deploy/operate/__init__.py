"""What is done to a feed from another process.

attach.py      where the feed is
status.py      how far it is
audit.py       whether everything is there: the equations, and the log joined again
actions.py     end it, accept a loss
emitted.py     what was emitted
dead.py        what was refused, and bringing it back
compressing.py a pipeline's model compressed, without a feed
"""
