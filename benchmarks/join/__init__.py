"""How fast the join is, beside its peers.

__main__.py     runs all, prints the tables and one line of JSON
contenders.py   the rows, and running one of them
events.py       the events: their bytes, their order, publishing them
ours.py         our side, each part a process of its own
speed.py        speed and latency of every row, in turn
growth.py       cost and memory with ever more predictions waiting
hostile.py      a good feed, with hostile events mixed in
"""
